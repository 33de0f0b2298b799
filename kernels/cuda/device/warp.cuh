// What the lanes of a warp find together, in the orders that the arithmetic sm_90a names.
#pragma once

namespace troupe::kernels::cuda {

/// By a tree over `lanes` lanes, halves first; lane 0 has it.
__device__ inline float sum_of_lanes(float value, int lanes) {
  for (int width = lanes / 2; width > 0; width /= 2) value = __fadd_rn(value, __shfl_down_sync(~0u, value, width));
  return value;
}
/// The same of a whole warp, for every lane.
__device__ inline float sum_of_warp(float value) { return __shfl_sync(~0u, sum_of_lanes(value, 32), 0); }

/// For every lane; what is not a number does not count.
__device__ inline float greatest_of_warp(float value) {
  for (int width = 16; width > 0; width /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, width));
  return value;
}

}  // namespace troupe::kernels::cuda
