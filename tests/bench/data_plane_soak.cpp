// Sends many random messages between the planes of one process and counts what arrives.
//   data_plane_soak COUNT [PLANES [TRANSPORTS [NETWORK]]]
// By default 3 planes over what a plane takes by default.
// Tensors have 1 B to 4 KiB, sizes log-uniform; one in 10,000 up to 64 MiB. All have checksums.
// Fails if one is lost, comes twice, or is another's, or if memory is not given back.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

#include "runtime/data_plane/data_plane.h"

namespace troupe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t most_bytes = 64 << 20;
constexpr uint64_t most_under_way = 4000, most_bytes_under_way = 512 << 20;

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

struct Soak {
  std::atomic<uint64_t> sent{0}, received{0}, bytes_sent{0}, bytes_received{0};
  std::atomic<uint64_t> sent_sum{0}, received_sum{0};  // of the messages' numbers
  std::atomic<uint64_t> wrong{0}, lost{0};
};

/// The letter is the message's number; the tensor begins with it where it has room.
void receive(Soak& soak, const runtime::Parcel& parcel) {
  uint64_t number = 0, first = 0;
  const auto& view = parcel.tensors.at(0).view;
  std::memcpy(&number, parcel.letter.data(), sizeof number);
  const auto bytes = static_cast<uint64_t>(view.count());
  if (bytes >= sizeof first) {
    std::memcpy(&first, view.data, sizeof first);
    if (first != number) ++soak.wrong;
  }
  soak.received_sum += number;
  soak.bytes_received += bytes;
  ++soak.received;
}

void send(Soak& soak, std::vector<std::unique_ptr<runtime::DataPlane>>& planes, uint64_t count,
          unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(0, 1);
  const auto n = static_cast<uint64_t>(planes.size());
  for (uint64_t number = 1; number <= count; ++number) {
    const double largest = number % 10000 == 0 ? most_bytes : 4096;
    const auto bytes = static_cast<int64_t>(std::pow(largest, exponent(random)));
    const uint64_t from = random() % n, to = (from + 1 + random() % (n - 1)) % n;
    auto buffer = kernels::allocate(kernels::DType::f8_e4m3, {bytes});
    std::memset(buffer.view.data, static_cast<int>(number), static_cast<size_t>(bytes));
    if (bytes >= 8) std::memcpy(buffer.view.data, &number, 8);
    ++soak.sent;
    soak.bytes_sent += static_cast<uint64_t>(bytes);
    soak.sent_sum += number;
    planes[from]->send(static_cast<int>(to), {std::string(reinterpret_cast<char*>(&number), 8),
                                              {{buffer.view, buffer.memory}}});
    while (soak.sent - soak.received > most_under_way ||
           soak.bytes_sent - soak.bytes_received > most_bytes_under_way) {
      if (soak.lost > 0) return;
      std::this_thread::yield();
    }
  }
}

int run(uint64_t count, int n_planes, const runtime::PlaneOptions& options) {
  Soak soak;
  const int64_t live_before = kernels::buffer_use().live_bytes;
  const auto start = Clock::now();
  uint64_t losses = 0, sleeps = 0;
  {
    std::vector<std::unique_ptr<runtime::DataPlane>> planes;
    for (int i = 0; i < n_planes; ++i) {
      runtime::PlaneEvents events;
      events.received = [&soak](int, runtime::Parcel parcel) { receive(soak, parcel); };
      events.lost = [&soak](int, const std::string& why, std::vector<std::string>) {
        if (soak.received < soak.sent) std::cerr << "lost a peer: " << why << std::endl;
        ++soak.lost;
      };
      planes.push_back(runtime::make_ucx_plane(options, std::move(events)));
    }
    for (int i = 0; i < n_planes; ++i) {
      for (int j = 0; j < n_planes; ++j) {
        if (i != j)
          planes[static_cast<size_t>(i)]->connect(j, planes[static_cast<size_t>(j)]->address());
      }
    }
    std::cout << planes[0]->describe() << ", " << n_planes << " planes\n";
    int64_t resident_early = 0;
    for (int part = 0; part < 10 && soak.lost == 0; ++part) {
      send(soak, planes, count / 10, static_cast<unsigned>(part));
      if (part == 0) resident_early = resident_bytes();
      const std::chrono::duration<double> time = Clock::now() - start;
      std::cout << soak.received << " received, " << soak.bytes_received / 1000000 << " MB, "
                << time.count() << " s, " << resident_bytes() / 1000000
                << " MB resident (first tenth " << resident_early / 1000000 << ")" << std::endl;
    }
    const auto patience = Clock::now() + std::chrono::seconds(60);
    while (soak.received < soak.sent && soak.lost == 0 && Clock::now() < patience) {
      std::this_thread::yield();
    }
    losses = soak.lost;  // later ones are farewells
    for (const auto& plane : planes) sleeps += plane->counters().sleeps;
  }
  const int64_t leaked = kernels::buffer_use().live_bytes - live_before;
  std::cout << soak.sent << " sent, " << soak.received << " received, " << soak.wrong << " wrong, "
            << leaked << " bytes not given back, " << sleeps << " sleeps\n";
  const bool is_good = soak.sent == soak.received && soak.sent_sum == soak.received_sum &&
                       soak.bytes_sent == soak.bytes_received && soak.wrong == 0 && losses == 0 &&
                       leaked == 0;
  std::cout << (is_good ? "good\n" : "FAILED\n");
  return is_good ? 0 : 1;
}

}  // namespace
}  // namespace troupe

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: data_plane_soak COUNT [PLANES [TRANSPORTS [NETWORK]]]\n";
    return 2;
  }
  if (!troupe::runtime::has_ucx()) {
    std::cout << "skipped: " << troupe::runtime::why_no_ucx() << "\n";
    return 0;
  }
  troupe::runtime::PlaneOptions options;
  options.has_checksums = true;
  if (argc > 3) options.transports = argv[3];
  if (argc > 4) options.network = argv[4];
  return troupe::run(std::stoull(argv[1]), argc > 2 ? std::atoi(argv[2]) : 3, options);
}
