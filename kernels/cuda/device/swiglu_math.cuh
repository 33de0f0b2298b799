// SwiGLU of one number, and its gradients: what swiglu.cu and the kernels that quantize its results
// have in common, so that they have the same bits. s = sigmoid(gate).
#pragma once

#include "kernels/cuda/device/sigmoid.cuh"

namespace troupe::kernels::cuda {

/// silu(gate) * up.
__device__ inline float activated_of(float gate, float up, float s) {
  return __fmul_rn(__fmul_rn(gate, s), up);
}

/// dup = dy * (g * s), dgate = (dy * up) * (s * (1 + g * (1 - s))).
struct SwigluDeltas {
  float activated, dgate, dup;
};
__device__ inline SwigluDeltas swiglu_deltas_of(float gate, float up, float dy, float s) {
  const float silu = __fmul_rn(gate, s);
  const float slope = __fmul_rn(s, __fmaf_rn(gate, __fsub_rn(1.0f, s), 1.0f));
  return {__fmul_rn(silu, up), __fmul_rn(__fmul_rn(dy, up), slope), __fmul_rn(dy, silu)};
}

}  // namespace troupe::kernels::cuda
