// FP8 products without promotion, to compare training with and without it: accumulators of the
// tensor cores take all of K. Not made to be fast.
#pragma once

#include "kernels/cuda/sm90/wgmma.cuh"

namespace troupe::kernels::cuda {

/// What the 64 sums of a thread (wgmma.cuh) over a block of 128 of K are scaled by: its two rows of a,
/// its 32 columns of b.
struct Fp8BlockScales {
  float rows[2], cols[32];
  __device__ float of(int i) const { return rows[i / 2 % 2] * cols[i / 4 * 2 + i % 2]; }
};

/// `sum`, in units of `from`, becomes one in units of `to`. Where single precision has no room for it
/// there (a tile of zeros has the least scale of all), or it is zero, it goes to `total` instead: in 14
/// bits it would not meet the block's products.
__device__ inline void rescale(float& sum, float& total, float from, float to) {
  const float moved = sum * (from / to), size = fabsf(moved);
  const bool has_room = size > 0x1p-100f && size < 0x1p100f;
  total = has_room ? total : __fmaf_rn(sum, from, total);
  sum = has_room ? moved : 0.0f;
}

/// A warpgroup's 64 x 128 sums, in units of the scales of the block that was added last.
class UnpromotedSums {
 public:
  __device__ UnpromotedSums() : scales_{} {
#pragma unroll
    for (int i = 0; i < 64; ++i) sum_[i] = total_[i] = 0.0f;
  }

  /// Adds the next block: 64 x 128 of a times 128 x 128 of b, tiles as in ProductE4m3. They have been
  /// read when this returns.
  __device__ void add(uint64_t a, uint64_t b, const Fp8BlockScales& scales) {
#pragma unroll
    for (int i = 0; i < 64; ++i) rescale(sum_[i], total_[i], scales_.of(i), scales.of(i));
    scales_ = scales;
    pin(sum_);  // the fence is for registers that have been written
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      ProductE4m3<128>::add(sum_, a + 2 * step, b + 2 * step, true);
    }
    commit_products();
    wait_products<0>();
    pin(sum_);
  }

  __device__ void write(float (&total)[64]) const {
#pragma unroll
    for (int i = 0; i < 64; ++i) total[i] = __fmaf_rn(sum_[i], scales_.of(i), total_[i]);
  }

 private:
  float sum_[64], total_[64];
  Fp8BlockScales scales_;
};

}  // namespace troupe::kernels::cuda
