// One side of compare_data_plane: two processes, this one and a child, with a plane over UCX each.
//   data_plane_bench TRANSPORTS NETWORK SPIN_US [cpu|cuda]
// With cuda each process takes a GPU, one each where there are two, and tensors are in its memory.
// Answers each line on its standard input with one line of JSON:
//   bandwidth BYTES COUNT   parcels of one tensor that go to the child: MB/s (10^6 bytes)
//   latency BYTES COUNT     parcels that go there and back, from callback to callback: half of
//   that, us
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <iostream>
#include <sstream>

#include "kernels/buffer.h"
#include "kernels/cuda/device/device.h"
#include "tests/runtime/data_plane/hex.h"
#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

using Clock = std::chrono::steady_clock;

PlaneOptions options_of(char** arguments) {
  PlaneOptions options;
  options.transports = arguments[0];
  options.network = arguments[1];
  options.spin_us = std::atoi(arguments[2]);
  return options;
}

bool is_on_gpu(char** arguments) { return arguments[3] == std::string("cuda"); }

/// Counts what it is told to count, and answers when all is there; sends back what is to come back.
int run_child(char** arguments) {
  if (is_on_gpu(arguments)) kernels::cuda::open();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::unique_ptr<DataPlane> plane;
  uint64_t wanted = 0, seen = 0;
  PlaneEvents events;
  events.received = [&](int peer, Parcel parcel) {
    if (parcel.letter.starts_with("count ")) {
      wanted = std::stoull(parcel.letter.substr(6));
      seen = 0;
    } else if (parcel.letter == "back") {
      plane->send(peer, std::move(parcel));
    } else if (++seen == wanted) {
      plane->send(peer, {"all", {}});
    }
  };
  plane = runtime::make_ucx_plane(options_of(arguments), std::move(events));
  std::cout << to_hex(plane->address()) << std::endl;
  std::string line;
  std::getline(std::cin, line);
  plane->connect(1, from_hex(line));
  std::cout << "connected" << std::endl;
  while (std::getline(std::cin, line)) {
  }
  return 0;
}

/// The plane of this process, and the pipes to the child.
class Parent {
 public:
  Parent(const char* program, char** arguments) : is_on_gpu_(is_on_gpu(arguments)) {
    if (is_on_gpu_) kernels::cuda::open();
    int to[2], from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) return;
    if (::fork() == 0) {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      for (const int file : {to[0], to[1], from[0], from[1]}) ::close(file);
      ::execl(program, program, "--child", arguments[0], arguments[1], arguments[2], arguments[3], nullptr);
      ::_exit(1);
    }
    ::close(to[0]);
    ::close(from[1]);
    in_ = ::fdopen(to[1], "w");
    out_ = ::fdopen(from[0], "r");
    PlaneEvents events;
    events.received = [this](int, Parcel parcel) { received(std::move(parcel)); };
    events.lost = [](int, const std::string& why, std::vector<std::string>) {
      std::cerr << "lost the child: " << why << std::endl;
    };
    plane_ = runtime::make_ucx_plane(options_of(arguments), std::move(events));
    plane_->connect(1, from_hex(line()));
    std::fputs((to_hex(plane_->address()) + "\n").c_str(), in_);
    std::fflush(in_);
    line();
  }

  double bandwidth(int64_t bytes, int64_t count) {
    const TensorRef tensor = made(bytes);
    done_ = {};
    auto done = done_.get_future();
    plane_->send(1, {"count " + std::to_string(count), {}});
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) plane_->send(1, {"x", {tensor}});
    done.get();
    const std::chrono::duration<double> time = Clock::now() - start;
    return static_cast<double>(bytes * count) * 1e-6 / time.count();
  }

  double latency(int64_t bytes, int64_t count) {
    left_ = count;
    done_ = {};
    auto done = done_.get_future();
    const auto start = Clock::now();
    plane_->send(1, {"back", {made(bytes)}});
    done.get();
    const std::chrono::duration<double> time = Clock::now() - start;
    return time.count() * 1e6 / static_cast<double>(2 * count);
  }

 private:
  void received(Parcel parcel) {
    if (parcel.letter == "all" || --left_ == 0) return done_.set_value();
    plane_->send(1, std::move(parcel));
  }

  TensorRef made(int64_t bytes) const {
    const TensorRef host = filled_bytes(bytes, 1);
    if (!is_on_gpu_) return host;
    const auto there = kernels::allocate(kernels::Device::cuda, host.view.dtype, {bytes});
    kernels::copy_now(host.view, there);
    return {there.view, there.memory};
  }

  std::string line() {
    std::string text;
    for (int c = std::fgetc(out_); c != '\n' && c != EOF; c = std::fgetc(out_)) {
      text += static_cast<char>(c);
    }
    return text;
  }

  const bool is_on_gpu_;
  std::FILE* in_ = nullptr;
  std::FILE* out_ = nullptr;
  std::promise<void> done_;
  std::atomic<int64_t> left_{0};
  std::unique_ptr<DataPlane> plane_;
};

int run_parent(const char* program, char** arguments) {
  Parent parent(program, arguments);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string what;
    int64_t bytes = 0, count = 0;
    words >> what >> bytes >> count;
    const double value =
        what == "latency" ? parent.latency(bytes, count) : parent.bandwidth(bytes, count);
    std::cout << "{\"value\": " << value << "}" << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  if (argc == 6 && std::string(argv[1]) == "--child") return troupe::tests::run_child(argv + 2);
  if (argc == 4 || argc == 5) {
    char cpu[] = "cpu";
    char* arguments[] = {argv[1], argv[2], argv[3], argc == 5 ? argv[4] : cpu};
    return troupe::tests::run_parent("/proc/self/exe", arguments);
  }
  std::cerr << "usage: data_plane_bench TRANSPORTS NETWORK SPIN_US [cpu|cuda]\n";
  return 2;
}
