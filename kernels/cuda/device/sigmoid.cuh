// e^x and the sigmoid of kernels/math/lane_math.inl with their bits, in half as many instructions where
// numbers are not extreme.
#pragma once

#include "kernels/cuda/device/lane.cuh"

namespace troupe::kernels::cuda {

/// Up to here e^-x is a normal number, and so is the reciprocal of 1 + e^-x.
constexpr float near_limit = 86.0f;

/// exp(x) for |x| <= near_limit. Where lane_math.inl converts to an integer and back, a sum has that integer in
/// its last bits; what multiplies by 2^n twice adds n to an exponent once.
__device__ inline float exp_near(float x) {
  constexpr float magic = 0x1.8p23f;
  const float shifted = __fadd_rn(__fmul_rn(x, 1.44269504f), magic);
  const float n = __fsub_rn(shifted, magic);
  float r = __fmaf_rn(n, -0.693145751953125f, x);
  r = __fmaf_rn(n, -1.42860677e-06f, r);
  float p = 1.98412698e-04f;
  p = __fmaf_rn(p, r, 1.38888889e-03f);
  p = __fmaf_rn(p, r, 8.33333333e-03f);
  p = __fmaf_rn(p, r, 4.16666667e-02f);
  p = __fmaf_rn(p, r, 1.66666667e-01f);
  p = __fmaf_rn(p, r, 5.00000000e-01f);
  p = __fadd_rn(__fmaf_rn(__fmul_rn(p, r), r, r), 1.0f);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

/// sigmoid(x) for |x| <= near_limit.
__device__ inline float sigmoid_near(float x) {
  // The reciprocal to nearest: one step from what the hardware gives, which is off by an ulp at most.
  const float divisor = __fadd_rn(1.0f, exp_near(-x));
  float near;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(near) : "f"(divisor));
  return __fmaf_rn(near, __fmaf_rn(-divisor, near, 1.0f), near);
}

__device__ __noinline__ inline float sigmoid_far(float x) { return sigmoid(set1(x)).v; }

/// s = sigmoid(x) of any numbers, together, so that one question is asked for all.
template <int n>
__device__ inline void sigmoids(const float (&x)[n], float (&s)[n]) {
  bool are_near = true;
#pragma unroll
  for (int i = 0; i < n; ++i) are_near = are_near & (fabsf(x[i]) <= near_limit);
#pragma unroll
  for (int i = 0; i < n; ++i) s[i] = sigmoid_near(x[i]);
  if (are_near) return;
#pragma unroll
  for (int i = 0; i < n; ++i) s[i] = sigmoid_far(x[i]);
}

}  // namespace troupe::kernels::cuda
