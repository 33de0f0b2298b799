// How a warpgroup writes the registers of its products (wgmma.cuh) to a matrix.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace troupe::kernels::cuda {

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

__device__ inline uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

/// Writes a warpgroup's 64 x kCols as bfloat16: `c` is row 0 of the matrix; rows below `row_end`
/// and columns below `cols` alone.
template <int kCols>
__device__ inline void store_bf16(const float (&total)[kCols / 2], __nv_bfloat16* c, int row,
                                  int row_end, int col, int cols) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + 16 * warp + lane / 4 + 8 * half;
    __nv_bfloat16* line = c + int64_t{r} * cols + col;
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

/// The same as f32. `cols` is even.
template <int kCols>
__device__ inline void store_f32(const float (&total)[kCols / 2], float* c, int row, int row_end,
                                 int col, int cols) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + 16 * warp + lane / 4 + 8 * half;
    float* line = c + int64_t{r} * cols + col;
#pragma unroll
    for (int j = 0; j < kCols / 8; ++j) {
      const int i = 4 * j + 2 * half, x = 8 * j + 2 * (lane % 4);
      if (r < row_end && col + x < cols) {
        *reinterpret_cast<float2*>(line + x) = make_float2(total[i], total[i + 1]);
      }
    }
  }
}

}  // namespace troupe::kernels::cuda
