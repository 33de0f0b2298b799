// What the kernels of routing have in common.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {

constexpr int32_t lowest_key = std::numeric_limits<int32_t>::min();
constexpr unsigned whole_warp = 0xffffffffu;

/// Integers that order as the floats do, NaN below all: as on the CPU.
__device__ inline int32_t rank_key(float x) {
  const int32_t bits = __float_as_int(x);
  const int32_t key = bits ^ ((bits >> 31) & 0x7fffffff);
  return x == x ? key : lowest_key;
}
__device__ inline float value_of(int32_t key) { return __int_as_float(key ^ ((key >> 31) & 0x7fffffff)); }

struct RouteShape {
  Rows<const float> logits;
  const float* bias;
  Rows<float> scores, weights;
  Rows<int32_t> ids;
  int E, K, n_groups, top_groups;
  bool normalize;
  float scale;
};

}  // namespace troupe::kernels::cuda
