#include "kernels/profile.h"

#include <mutex>
#include <utility>

#include "kernels/busy_time.h"

namespace troupe::kernels {
namespace {

std::atomic<bool> profiling{false};
std::mutex mutex;
std::map<std::string, OperatorTime> profile;

}  // namespace

thread_local const char* OperatorLabel::current_ = "other";

void set_profiling(bool on) { profiling.store(on, std::memory_order_relaxed); }
bool is_profiling() { return profiling.load(std::memory_order_relaxed); }

void add_operator_time(const char* name, double seconds) {
  std::lock_guard lock(mutex);
  OperatorTime& time = profile[name];
  ++time.parts;
  time.seconds += seconds;
}

BusyPart::~BusyPart() {
  const auto time = std::chrono::steady_clock::now() - begin_;
  add_busy_time(time);
  if (is_profiling()) add_operator_time(name_, std::chrono::duration<double>(time).count());
}

std::map<std::string, OperatorTime> take_profile() {
  std::lock_guard lock(mutex);
  return std::exchange(profile, {});
}

}  // namespace troupe::kernels
