// What the threads of this process have computed, whatever they waited for.
#pragma once

#include <chrono>

namespace troupe::kernels {

/// How long threads of pools have been in parts of operations, all of them together, since the
/// process began. Thread-safe.
std::chrono::nanoseconds busy_time();

/// A thread has been in a part for so long.
void add_busy_time(std::chrono::nanoseconds time);

}  // namespace troupe::kernels
