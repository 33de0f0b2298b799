// The clock of cells: the processor's time stamp counter where it is steady, else the system's.
#pragma once

#include <cstdint>
#include <ctime>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace troupe::runtime {

/// Steady nanoseconds, the same for all processes of a machine.
inline uint64_t steady_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

/// Whether the counter goes on at one rate whatever the processor's power state, on all cores.
bool has_steady_counter();
inline const bool is_counter_steady = has_steady_counter();

/// Now, in ticks of unknown rate: a reader compares two moments to learn it.
inline uint64_t cell_ticks() {
#if defined(__x86_64__)
  if (is_counter_steady) return __rdtsc();
#endif
  return steady_ns();
}

/// A moment on both clocks.
struct CellMoment {
  uint64_t ticks = 0;
  uint64_t ns = 0;

  static CellMoment now() { return {cell_ticks(), steady_ns()}; }
};

}  // namespace troupe::runtime
