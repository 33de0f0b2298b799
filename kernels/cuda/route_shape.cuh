// What the kernels of routing have in common.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {

constexpr int32_t lowest_key = std::numeric_limits<int32_t>::min();  ///< of what is not there: below every number's, and NaN's
constexpr unsigned whole_warp = 0xffffffffu;

/// Integers that order as the floats do, NaN below all: as on the CPU.
__device__ inline int32_t rank_key(float x) {
  const int32_t bits = __float_as_int(x);
  const int32_t key = bits ^ ((bits >> 31) & 0x7fffffff);
  return x == x ? key : lowest_key + 1;
}
__device__ inline float value_of(int32_t key) { return __int_as_float(key ^ ((key >> 31) & 0x7fffffff)); }

/// Calls order(a, b) for the pairs of n places, a before b, that put them in order if each call does so to its two.
/// Source: Batcher, "Sorting networks and their applications", AFIPS 1968: merges of odd and even places.
template <int n, class F>
__device__ inline void sorting_network(const F& order) {
#pragma unroll
  for (int p = 1; p < n; p *= 2) {
#pragma unroll
    for (int k = p; k >= 1; k /= 2) {
#pragma unroll
      for (int a = k % p; a + k < n; ++a) {
        if ((a - k % p) / k % 2 == 0 && a / (2 * p) == (a + k) / (2 * p)) order(a, a + k);
      }
    }
  }
}

struct RouteShape {
  Rows<const float> logits;
  const float* bias;
  Rows<float> scores, weights;
  Rows<int32_t> ids;
  int E, K, n_groups, top_groups;
  bool normalize;
  float scale;

  /// Of a chosen expert; `sum`: of the scores of all that are chosen.
  __device__ float weight_of(float score, float sum) const {
    return __fmul_rn(normalize ? __fdiv_rn(score, __fadd_rn(sum, 1e-20f)) : score, scale);
  }
  /// Whether four neighbouring experts are read and written at once.
  bool is_in_fours() const {
    const auto places = reinterpret_cast<uintptr_t>(logits.data) | reinterpret_cast<uintptr_t>(scores.data) |
                        reinterpret_cast<uintptr_t>(bias);
    return logits.stride % 4 == 0 && scores.stride % 4 == 0 && places % 16 == 0;
  }
};

}  // namespace troupe::kernels::cuda
