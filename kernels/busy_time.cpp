#include "kernels/busy_time.h"

#include <atomic>
#include <cstdint>

namespace troupe::kernels {
namespace {

std::atomic<int64_t> nanoseconds{0};

}  // namespace

std::chrono::nanoseconds busy_time() { return std::chrono::nanoseconds(nanoseconds.load()); }

void add_busy_time(std::chrono::nanoseconds time) {
  nanoseconds.fetch_add(time.count(), std::memory_order_relaxed);
}

}  // namespace troupe::kernels
