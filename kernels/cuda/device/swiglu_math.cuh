// SwiGLU of one number, and its gradients: what swiglu.cu and the kernels that quantize its results
// have in common, so that they have the same bits.
#pragma once

#include "kernels/cuda/device/lane.cuh"

namespace troupe::kernels::cuda {

/// silu(gate) * up.
__device__ inline float activated_of(float gate, float up) {
  const F16 x = set1(gate);
  return (x * sigmoid(x) * set1(up)).v;
}

/// dup = dy * (g * s), dgate = (dy * up) * (s * (1 + g * (1 - s))), s = sigmoid(g).
struct SwigluDeltas {
  float activated, dgate, dup;
};
__device__ inline SwigluDeltas swiglu_deltas_of(float gate, float up, float dy) {
  const F16 x = set1(gate), u = set1(up), delta = set1(dy);
  const F16 s = sigmoid(x);
  const F16 slope = s * fma(x, set1(1.0f) - s, set1(1.0f));
  return {(x * s * u).v, (delta * u * slope).v, (delta * (x * s)).v};
}

}  // namespace troupe::kernels::cuda
