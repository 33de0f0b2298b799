// What kernels that turn bfloat16 to codes compute in fewer instructions than the formulas, with the same results:
// SwiGLU by the hardware's functions where its rounding is not in doubt, and quotients by a scale as products.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/bf16_pair.cuh"
#include "kernels/cuda/device/sigmoid.cuh"
#include "kernels/cuda/device/swiglu_math.cuh"

namespace troupe::kernels::cuda {

/// silu(gate) * up of two columns, rounded.
__device__ __noinline__ inline uint32_t activated_pair(uint32_t gate, uint32_t up) {
  const float g[2] = {lower_bf16(gate), upper_bf16(gate)};
  float s[2];
  sigmoids(g, s);
  return bf16_pair(activated_of(g[0], lower_bf16(up), s[0]), activated_of(g[1], upper_bf16(up), s[1]));
}

/// sigmoid(x) by the hardware's 2^x and 1 / x.
__device__ inline float quick_sigmoid(float x) {
  float power, s;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(__fmul_rn(x, -1.44269504f)));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(s) : "f"(__fadd_rn(1.0f, power)));
  return s;
}

/// Up to here quick_sigmoid of a bfloat16 is within six ulps of its sigmoid, so that silu(gate) * up by it, two
/// products more, is within sixteen.
constexpr uint32_t quick_limit = 0x4100;  // 8, as a bfloat16
constexpr uint32_t quick_error = 16;

/// silu(gate) * up of eight columns, rounded. `size`: bits of a bfloat16 that no |gate| is above. Pairs whose rounding
/// is in doubt are computed by the formula.
__device__ inline uint4 activated_eight(const uint4& gate, const uint4& up, uint32_t size) {
  uint32_t out[4], beyond[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float a[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float g = half == 0 ? lower_bf16(word_of(gate, j)) : upper_bf16(word_of(gate, j));
      const float u = half == 0 ? lower_bf16(word_of(up, j)) : upper_bf16(word_of(up, j));
      a[half] = activated_of(g, u, quick_sigmoid(g));
    }
    out[j] = bf16_pair(a[0], a[1]);
    // How far beyond the first number that is in doubt, in two halves, by turns. A carry of the lower one makes the
    // upper one greater by one, which the question allows for.
    const uint32_t rests = __byte_perm(__float_as_uint(a[0]), __float_as_uint(a[1]), 0x5410);
    beyond[j] = rests + (0x8000 + quick_error) * 0x10001;
  }
  const uint32_t nearest = __vminu2(__vminu2(beyond[0], beyond[1]), __vminu2(beyond[2], beyond[3]));
  constexpr uint32_t sure = 2 * quick_error + 2;
  const bool is_far = size > quick_limit;
  if (is_far || min(nearest & 0xffff, nearest >> 16) < sure) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (is_far || min(beyond[j] & 0xffff, beyond[j] >> 16) < sure) {
        out[j] = activated_pair(word_of(gate, j), word_of(up, j));
      }
    }
  }
  return make_uint4(out[0], out[1], out[2], out[3]);
}

/// 1 / scale in two numbers: the nearest not above, and what is left.
struct Inverse {
  float most, rest;
};
/// Above it the rest would be below the normal numbers, and products with it not exact enough.
constexpr float greatest_divisor = 0x1p100f;

__device__ inline Inverse inverse_of(float scale) {
  const float most = __frcp_rz(scale);
  return {most, __fdiv_rn(__fmaf_rn(-scale, most, 1.0f), scale)};
}
/// x / scale, of which the code is that of the quotient to nearest, for a bfloat16 and any scale up to
/// greatest_divisor: a test computes it for all that differ by more than powers of two. Keeps the sign of zeros, as no
/// rest is negative.
__device__ inline float divided(float x, const Inverse& inverse) {
  return __fmaf_rn(x, inverse.most, __fmul_rn(x, inverse.rest));
}

}  // namespace troupe::kernels::cuda
