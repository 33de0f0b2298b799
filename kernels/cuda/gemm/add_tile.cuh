// How a warpgroup adds the registers of its products to fixed-point sums through shared memory: the copy
// engine adds them while the next tile's products are under way. Integers may be added in any order (law 2).
#pragma once

#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/tma.cuh"

namespace troupe::kernels::cuda {

/// Shared memory of a warp for numbers that wait to be copied: two parts of eight rows of 64 columns. Rows
/// lie so that the lanes that write them together meet no bank twice.
struct AddedParts {
  static constexpr int cols = 64;
  static constexpr int pitch = cols * 8 + 64;
  static constexpr int part_bytes = 8 * pitch;
  static constexpr int bytes = 2 * part_bytes;
};

/// Adds a unit's gradient to its fixed-point sum, or stores it where it is the first. Stride and columns
/// are even. `parts`: this warp's. Whoever calls it waits (wait_copied) before its block ends.
template <int kCols>
__device__ inline void add_fixed_point(const float (&total)[kCols / 2], unsigned long long* sum,
                                       const FixedPointRule& rule, const TileTarget& to,
                                       uint32_t parts) {
  constexpr int batch = AddedParts::cols / 8;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const bool stores = rule.is_first && !rule.is_shared;
  const SmallNumbers numbers(rule);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = to.row + 16 * warp + 8 * half;
#pragma unroll
    for (int first = 0; first < kCols / 8; first += batch) {
      const uint32_t part = parts + first / batch % 2 * AddedParts::part_bytes;
      const uint32_t at = part + lane / 4 * AddedParts::pitch + lane % 4 * 16;
      wait_copied_from<1>();  // what went through this part before
      __syncwarp();
      for_fixed_point<batch>(
          total, first, half, rule, numbers,
          [&](int j) {
            return row + lane / 4 < to.row_end && to.col + 8 * (first + j) + 2 * (lane % 4) < to.cols;
          },
          [&](int j, unsigned long long a, unsigned long long b) { store_shared_pair(at + 64 * j, a, b); });
      publish_shared();
      __syncwarp();
      const int col = to.col + 8 * first, cols = min(AddedParts::cols, to.cols - col);
      if (lane < 8 && row + lane < to.row_end && cols > 0) {
        unsigned long long* const line = sum + int64_t{row + lane} * to.stride + col;
        const uint32_t from = part + lane * AddedParts::pitch, bytes = static_cast<uint32_t>(cols) * 8;
        stores ? copy_to_memory(line, from, bytes) : add_to_memory(line, from, bytes);
      }
      commit_copies();
    }
  }
}

}  // namespace troupe::kernels::cuda
