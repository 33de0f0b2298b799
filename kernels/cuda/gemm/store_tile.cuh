// How a warpgroup writes the registers of its products (wgmma.cuh) to a matrix.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/device/bf16_pair.cuh"
#include "kernels/cuda/gemm/product_result.h"

namespace troupe::kernels::cuda {

/// What a product is written as, as a type; else bfloat16 or f32.
struct RoundedBf16 {};  ///< f32 that were rounded to bfloat16
struct FixedPoint {};   ///< added to fixed-point sums

/// Four lanes hold one row: after this each holds eight neighbouring columns of one of four chunks.
__device__ inline void transpose_quad(uint32_t (&v)[4], int lane) {
  const bool odd = lane & 1, high = lane & 2;
  uint32_t x = __shfl_xor_sync(~0u, odd ? v[0] : v[1], 1);
  uint32_t y = __shfl_xor_sync(~0u, odd ? v[2] : v[3], 1);
  (odd ? v[0] : v[1]) = x;
  (odd ? v[2] : v[3]) = y;
  x = __shfl_xor_sync(~0u, high ? v[0] : v[2], 2);
  y = __shfl_xor_sync(~0u, high ? v[1] : v[3], 2);
  (high ? v[0] : v[2]) = x;
  (high ? v[1] : v[3]) = y;
}

/// Where a warpgroup's 64 x kCols go: rows from `row` on and below `row_end`, columns from `col` on
/// and below `cols`, of a matrix whose rows are `stride` apart.
struct TileTarget {
  int64_t stride;
  int row, row_end;
  int col, cols;
};

/// Writes them as bfloat16: `c` is row 0 of the matrix. Stride and columns are multiples of 8.
template <int kCols>
__device__ inline void store_bf16(const float (&total)[kCols / 2], __nv_bfloat16* c,
                                  const TileTarget& to) {
  const int row = to.row, row_end = to.row_end, col = to.col, cols = to.cols;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + 16 * warp + lane / 4 + 8 * half;
    __nv_bfloat16* line = c + int64_t{r} * to.stride + col;
#pragma unroll
    for (int first = 0; first < kCols / 8; first += 4) {
      if (first + 4 <= kCols / 8) {
        uint32_t v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int i = 4 * (first + j) + 2 * half;
          v[j] = bf16_pair(total[i], total[i + 1]);
        }
        transpose_quad(v, lane);
        const int x = 8 * (first + lane % 4);
        if (r < row_end && col + x < cols) {
          *reinterpret_cast<uint4*>(line + x) = make_uint4(v[0], v[1], v[2], v[3]);
        }
      } else {
#pragma unroll
        for (int j = first; j < kCols / 8; ++j) {
          const int i = 4 * j + 2 * half, x = 8 * j + 2 * (lane % 4);
          if (r < row_end && col + x < cols) {
            *reinterpret_cast<uint32_t*>(line + x) = bf16_pair(total[i], total[i + 1]);
          }
        }
      }
    }
  }
}

/// Where rows lie `cols` apart.
template <int kCols>
__device__ inline void store_bf16(const float (&total)[kCols / 2], __nv_bfloat16* c, int row,
                                  int row_end, int col, int cols) {
  store_bf16<kCols>(total, c, {cols, row, row_end, col, cols});
}

/// The same as f32, or as f32 that were rounded to bfloat16. Stride and columns are even.
template <int kCols, bool kRounded = false>
__device__ inline void store_f32(const float (&total)[kCols / 2], float* c, const TileTarget& to) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = to.row + 16 * warp + lane / 4 + 8 * half;
    float* line = c + int64_t{r} * to.stride + to.col;
#pragma unroll
    for (int j = 0; j < kCols / 8; ++j) {
      const int i = 4 * j + 2 * half, x = 8 * j + 2 * (lane % 4);
      if (r < to.row_end && to.col + x < to.cols) {
        float2 pair = make_float2(total[i], total[i + 1]);
        if constexpr (kRounded) pair = __bfloat1622float2(__floats2bfloat162_rn(pair.x, pair.y));
        *reinterpret_cast<float2*>(line + x) = pair;
      }
    }
  }
}

/// What is added of x; nothing of one that is out of range or not finite.
__device__ inline unsigned long long fixed_point_of(float x, const FixedPointRule& rule) {
  if (!(fabsf(x) < rule.bound)) {
    atomicOr(rule.faults, fabsf(x) <= 3.40282346638528859812e38f ? 1u : 2u);
    return 0;
  }
  // f32 to f64 and times 2^s are exact; the one rounding is to the integer, to nearest even.
  return static_cast<unsigned long long>(__double2ll_rn(static_cast<double>(x) * rule.scale));
}

/// The same of numbers that are small enough, in single precision: conversions to and from doubles
/// would take as long as a third of a tile's products. x 2^s = h 2^22 + l, h the integer nearest to
/// x 2^(s - 22): what is left of x 2^s is exact, and l is it rounded to nearest even. 2^22 is even, so
/// l's neighbour that is even is the sum's.
class SmallNumbers {
 public:
  __device__ explicit SmallNumbers(const FixedPointRule& rule)
      : scale_(static_cast<float>(rule.scale)), high_(scale_ * 0x1p-22f),
        bound_(fminf(rule.bound, 0x1p44f / scale_)) {}

  __device__ bool have(float x) const { return fabsf(x) < bound_; }
  __device__ unsigned long long fixed_point_of(float x) const {
    const float high = __fmaf_rn(x, high_, magic), h = __fsub_rn(high, magic);
    const float rest = __fmaf_rn(h, -0x1p22f, __fmul_rn(x, scale_));
    return static_cast<unsigned long long>((int64_t{integer_of(high)} << 22) +
                                           integer_of(__fadd_rn(rest, magic)));
  }

 private:
  static constexpr float magic = 0x1.8p23f;  ///< what is added to it is rounded to an integer
  __device__ static int integer_of(float sum) { return __float_as_int(sum) - 0x4b400000; }

  float scale_, high_, bound_;
};

/// Calls f(j, a, b) with the fixed-point numbers of each pair of columns of half a tile's rows, from pair
/// `first` on, for j < kPairs: of those pairs alone of which is_there(j), where one is out of range, for the
/// faults of others are nobody's.
template <int kPairs, int kNumbers, class IsThere, class F>
__device__ inline void for_fixed_point(const float (&total)[kNumbers], int first, int half,
                                       const FixedPointRule& rule, const SmallNumbers& numbers,
                                       const IsThere& is_there, const F& f) {
  bool are_small = true;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = 4 * (first + j) + 2 * half;
    are_small = are_small && numbers.have(total[i]) && numbers.have(total[i + 1]);
  }
  if (are_small) {
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int i = 4 * (first + j) + 2 * half;
      f(j, numbers.fixed_point_of(total[i]), numbers.fixed_point_of(total[i + 1]));
    }
  } else {
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int i = 4 * (first + j) + 2 * half;
      if (is_there(j)) f(j, fixed_point_of(total[i], rule), fixed_point_of(total[i + 1], rule));
    }
  }
}

/// Adds a unit's gradient to its fixed-point sum. Stride and columns are even.
template <int kCols>
__device__ inline void add_fixed_point(const float (&total)[kCols / 2], unsigned long long* sum,
                                       const FixedPointRule& rule, const TileTarget& to) {
  constexpr int batch = 8;  // so many loads are under way at a time
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const SmallNumbers numbers(rule);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = to.row + 16 * warp + lane / 4 + 8 * half;
    unsigned long long* line = sum + int64_t{r} * to.stride + to.col;
#pragma unroll
    for (int first = 0; first < kCols / 8; first += batch) {
      const auto column = [&](int j) { return 8 * (first + j) + 2 * (lane % 4); };
      const auto is_there = [&](int j) { return r < to.row_end && to.col + column(j) < to.cols; };
      ulonglong2 old[batch];
#pragma unroll
      for (int j = 0; j < batch; ++j) {
        old[j] = make_ulonglong2(0, 0);
        if (is_there(j) && !rule.is_shared && !rule.is_first) {
          old[j] = *reinterpret_cast<const ulonglong2*>(line + column(j));
        }
      }
      for_fixed_point<batch>(
          total, first, half, rule, numbers, is_there,
          [&](int j, unsigned long long a, unsigned long long b) {
            if (!is_there(j)) return;
            unsigned long long* const at = line + column(j);
            if (rule.is_shared) {
              atomicAdd(at, a);
              atomicAdd(at + 1, b);
            } else {
              *reinterpret_cast<ulonglong2*>(at) = make_ulonglong2(old[j].x + a, old[j].y + b);
            }
          });
    }
  }
}

}  // namespace troupe::kernels::cuda
