// The softmax of attention on tensor cores, tile of keys by tile, over the registers of a product
// (wgmma.cuh): a thread has two rows, 8 apart, and four threads share them.
#pragma once

#include <cmath>

#include "kernels/cuda/attention/attention_items.cuh"

namespace troupe::kernels::cuda {

constexpr float ln_2 = 0.693147182f;

struct RunningSoftmax {
  float top[2] = {-INFINITY, -INFINITY};  ///< greatest score so far
  float sum[2] = {0, 0};                  ///< the thread's part of the sum of exp(score - top)

  /// Turns scores into exp(scale (score - top)) and moves on. `fixed` is what the sums so far are
  /// to be multiplied with. `key` is the first that the thread has; masked, a row sees the keys
  /// before `seen`, which may be none.
  template <bool kMasked, int kCount>
  __device__ void take(float (&s)[kCount], float scale_log2, int key, const int (&seen)[2],
                       float (&fixed)[2]) {
    if constexpr (kMasked) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        s[i] = key + 8 * (i / 4) + i % 2 < seen[i / 2 % 2] ? s[i] : -INFINITY;
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = s[2 * h], odd_most = s[2 * h + 1];  // two chains are faster than one
#pragma unroll
      for (int i = 4; i < kCount; i += 4) {
        most = fmaxf(most, s[i + 2 * h]);
        odd_most = fmaxf(odd_most, s[i + 2 * h + 1]);
      }
      most = fmaxf(most, odd_most);
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      most = fmaxf(most, top[h]);
      const float base = most == -INFINITY ? 0 : most;
      fixed[h] = exp2_approximate(__fmul_rn(__fadd_rn(top[h], -base), scale_log2));
      top[h] = most;
      const float shift = __fmul_rn(base, scale_log2);
      float parts[2] = {0, 0};  // of even and odd keys
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& x = s[i + 2 * h + c];
          x = exp2_approximate(__fmaf_rn(x, scale_log2, -shift));
          parts[c] = __fadd_rn(parts[c], x);
        }
      }
      sum[h] = __fmaf_rn(sum[h], fixed[h], __fadd_rn(parts[0], parts[1]));
    }
  }

  /// The whole sum of row h. The four threads of the row call it.
  __device__ float sum_of_row(int h) const {
    float all = sum[h];
    all = __fadd_rn(all, __shfl_xor_sync(~0u, all, 1));
    return __fadd_rn(all, __shfl_xor_sync(~0u, all, 2));
  }

  /// log2 of the sum of exp(scale score) of row h, and by what its output is to be multiplied: 0
  /// for a row that saw no key. `all` is the row's sum.
  __device__ float finish(int h, float all, float scale_log2, float& inverse) const {
    inverse = all > 0 ? __frcp_rn(all) : 0;
    return all > 0 ? __fmaf_rn(top[h], scale_log2, __log2f(all)) : -INFINITY;
  }
};

}  // namespace troupe::kernels::cuda
