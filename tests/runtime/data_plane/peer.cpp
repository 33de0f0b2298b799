// The other process of ucx_process_test: a plane that obeys.
//   data_plane_peer TRANSPORTS NETWORK echo|hold|flood
// Prints its address, reads that of its peer, both as hex digits, and prints "connected". Then it
// sends every parcel back, or holds on to the first and confirms none, or sends small parcels without
// end. "lost WHY" when that happens. Ends with its standard input.
#include <future>
#include <iostream>

#include "tests/runtime/data_plane/hex.h"
#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

int run(const std::string& transports, const std::string& network, const std::string& mode) {
  std::promise<void> gate;
  std::mutex mutex;
  std::unique_ptr<DataPlane> plane;
  PlaneOptions options;
  options.transports = transports;
  options.network = network;
  PlaneEvents events;
  events.received = [&](int peer, Parcel parcel) {
    if (mode == "hold") gate.get_future().wait();
    plane->send(peer, std::move(parcel));
  };
  events.lost = [&](int, const std::string& why, std::vector<std::string>) {
    std::lock_guard lock(mutex);
    std::cout << "lost " << why << std::endl;
  };
  plane = runtime::make_ucx_plane(options, std::move(events));
  std::cout << to_hex(plane->address()) << std::endl;
  std::string line;
  std::getline(std::cin, line);
  plane->connect(1, from_hex(line));
  {
    std::lock_guard lock(mutex);
    std::cout << "connected" << std::endl;
  }
  if (mode == "flood") {
    for (uint64_t i = 0;; ++i) {
      while (plane->counters().parcels_sent + 1000 < i) std::this_thread::yield();
      plane->send(1, {std::string(4000, 'x'), {}});
    }
  }
  while (std::getline(std::cin, line)) {
  }
  return 0;
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return troupe::tests::run(argv[1], argv[2], argv[3]);
}
