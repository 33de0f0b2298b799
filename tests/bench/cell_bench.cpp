// What a cell costs a message: arrived, begin and end, against a loop that does nothing and against
// a relaxed fetch_add. Rounds of all three take turns, so that a machine that slows down slows all.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "runtime/telemetry/cells.h"

namespace {

using namespace troupe::runtime;

constexpr int messages = 200'000;

/// Nanoseconds a call of `what`.
template <class What>
double time_of(const What& what) {
  const uint64_t begin = steady_ns();
  for (int i = 0; i < messages; ++i) {
    what(i);
    asm volatile("" ::: "memory");
  }
  return static_cast<double>(steady_ns() - begin) / messages;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 101;
  const auto glass = Glass::create(".");
  Cell& cell = *glass->hire(
      {.role = "bench", .name = "bench/0", .parent = "", .incarnation = 1, .restarts = 0});
  const MessageKind kind = glass->kind("forward");
  std::atomic<uint64_t> counter{0};
  std::array<std::vector<double>, 4> times;
  for (int round = 0; round < rounds; ++round) {
    times[0].push_back(time_of([](int) {}));
    times[1].push_back(time_of([&](int) { counter.fetch_add(1, std::memory_order_relaxed); }));
    times[2].push_back(time_of([&](int i) {
      cell.arrived();
      cell.begin(kind, {.step = static_cast<uint32_t>(i), .micro_batch = 1, .layer = 2});
      cell.end();
    }));
    times[3].push_back(time_of([](int) { static_cast<void>(cell_ticks()); }));
  }
  const char* names[] = {"empty loop", "fetch_add", "arrived + begin + end", "clock alone"};
  std::printf("%d rounds of %d, ns each%s\n", rounds, messages,
              is_counter_steady ? "" : " (without a steady counter)");
  for (size_t i = 0; i < times.size(); ++i) {
    std::printf("%-22s median %6.2f  p10 %6.2f  p90 %6.2f\n", names[i], quantile(times[i], 0.5),
                quantile(times[i], 0.1), quantile(times[i], 0.9));
  }
  std::printf("a message              median %6.2f more than the empty loop\n",
              quantile(times[2], 0.5) - quantile(times[0], 0.5));
  return 0;
}
