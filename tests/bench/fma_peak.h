// What a core can do at most: a loop of FMAs on registers alone.
#pragma once

#include <chrono>
#include <cstdint>

namespace troupe::tests {

/// Seconds that `f` takes.
template <class F>
double seconds(F f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

using Lanes8 = float __attribute__((vector_size(32)));
using Lanes16 = float __attribute__((vector_size(64)));

/// 12 chains, so that latency does not show.
#define TROUPE_FMA_LOOP(Lanes, instruction, registers)                                            \
  Lanes a = {}, b = {}, c[12] = {};                                                               \
  for (int64_t i = 0; i < count; ++i) {                                                           \
    _Pragma("GCC unroll 12") for (int j = 0; j < 12; ++j) {                                       \
      asm volatile(instruction " %1, %2, %0" : "+" registers(c[j]) : registers(a), registers(b)); \
    }                                                                                             \
  }

__attribute__((target("avx512f"), noinline)) inline void fma_loop_avx512(int64_t count) {
  TROUPE_FMA_LOOP(Lanes16, "vfmadd231ps", "v")
}
__attribute__((target("avx2,fma"), noinline)) inline void fma_loop_avx2(int64_t count) {
  TROUPE_FMA_LOOP(Lanes8, "vfmadd231ps", "x")
}

/// FLOP a second of one thread, measured for about a millisecond. 0 without FMA.
inline double fma_peak(bool use_avx512) {
  constexpr int64_t count = 200'000;
  if (!__builtin_cpu_supports("fma")) return 0;
  const int lanes = use_avx512 ? 16 : 8;
  const double time = seconds([&] {
    if (use_avx512) {
      fma_loop_avx512(count);
    } else {
      fma_loop_avx2(count);
    }
  });
  return 2.0 * 12 * lanes * static_cast<double>(count) / time;
}

}  // namespace troupe::tests
