// One lane of the CPU's 16, in a thread: the operations of cpu/simd/simd_portable.inl on one f32, so
// that what is written once over F16 (kernels/math/lane_math.inl) gives the same bits here. Compiled
// with -fmad=false: a product and a sum stay two roundings, an FMA is written out.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/cpu/tile_codes.h"

namespace troupe::kernels::cuda {

struct F16 {
  float v;
};
struct I16 {
  int32_t v;
};

__device__ inline F16 set1(float x) { return {x}; }
__device__ inline F16 zero() { return {0.0f}; }
__device__ inline F16 operator+(F16 a, F16 b) { return {__fadd_rn(a.v, b.v)}; }
__device__ inline F16 operator-(F16 a, F16 b) { return {__fsub_rn(a.v, b.v)}; }
__device__ inline F16 operator*(F16 a, F16 b) { return {__fmul_rn(a.v, b.v)}; }
__device__ inline F16 operator/(F16 a, F16 b) { return {__fdiv_rn(a.v, b.v)}; }
__device__ inline F16 fma(F16 a, F16 b, F16 c) { return {__fmaf_rn(a.v, b.v, c.v)}; }
__device__ inline F16 sqrt(F16 a) { return {__fsqrt_rn(a.v)}; }
__device__ inline F16 greater_of(F16 a, F16 b) { return {a.v > b.v ? a.v : b.v}; }
__device__ inline F16 lesser_of(F16 a, F16 b) { return {a.v < b.v ? a.v : b.v}; }
__device__ inline F16 select_less(F16 a, F16 b, F16 x, F16 y) { return a.v < b.v ? x : y; }
__device__ inline I16 round_to_int(F16 a) { return {__float2int_rn(a.v)}; }
__device__ inline F16 to_float(I16 a) { return {__int2float_rn(a.v)}; }
__device__ inline I16 set1_int(int32_t x) { return {x}; }
__device__ inline int32_t wrap(uint32_t x) { return static_cast<int32_t>(x); }
__device__ inline uint32_t bits(int32_t x) { return static_cast<uint32_t>(x); }
__device__ inline I16 operator+(I16 a, I16 b) { return {wrap(bits(a.v) + bits(b.v))}; }
__device__ inline I16 operator-(I16 a, I16 b) { return {wrap(bits(a.v) - bits(b.v))}; }
__device__ inline I16 operator&(I16 a, I16 b) { return {a.v & b.v}; }
__device__ inline I16 operator|(I16 a, I16 b) { return {a.v | b.v}; }
template <int n>
__device__ inline I16 shift_left(I16 a) {
  return {wrap(bits(a.v) << n)};
}
template <int n>
__device__ inline I16 shift_right_arithmetic(I16 a) {
  return {a.v >> n};
}
__device__ inline F16 as_float(I16 a) { return {__int_as_float(a.v)}; }
__device__ inline I16 as_int(F16 a) { return {__float_as_int(a.v)}; }

using cpu::Scaling;
using cpu::TileRule;

#define TROUPE_LANE __device__ inline
#include "kernels/math/lane_math.inl"
#include "kernels/math/tile_math.inl"
#undef TROUPE_LANE

__device__ inline float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }

/// The CPU's sum of 16 lanes, of which each thread of a half-warp holds one: every thread of it
/// gets the sum. All 32 threads of the warp call it.
__device__ inline float sum_lanes(float lane) {
  for (int width = 8; width > 0; width /= 2) {
    lane = __fadd_rn(lane, __shfl_down_sync(0xffffffffu, lane, width, 16));
  }
  return __shfl_sync(0xffffffffu, lane, 0, 16);
}
/// The CPU's greatest of 16 lanes, likewise.
__device__ inline float greatest_lane(float lane) {
  for (int width = 8; width > 0; width /= 2) {
    const float other = __shfl_down_sync(0xffffffffu, lane, width, 16);
    lane = lane > other ? lane : other;
  }
  return __shfl_sync(0xffffffffu, lane, 0, 16);
}

/// Calls f(i, is_there) for the elements lane, lane + 16, ... of a row, and for those behind
/// `count` that fill the last 16: the CPU has zeros there, which can turn a sum of -0 into +0.
template <class F>
__device__ inline void for_lane(int64_t count, int lane, F f) {
  for (int64_t first = 0; first < count; first += 16) f(first + lane, first + lane < count);
}

/// Sum of products of two rows, as the CPU's dot, by the threads `lane` of a half-warp.
__device__ inline float dot(const float* a, const float* b, int64_t count, int lane) {
  float sum = 0.0f;
  for_lane(count, lane, [&](int64_t i, bool there) {
    sum = __fmaf_rn(there ? a[i] : 0.0f, there ? b[i] : 0.0f, sum);
  });
  return sum_lanes(sum);
}

}  // namespace troupe::kernels::cuda
