// Gradients of weights in FP8: both operands have a scale a row and 128 of the inner dimension,
// which is the rows of a group. The frame is that of gemm_fp8_tiles.cuh.
#pragma once

#include "kernels/cuda/gemm/add_tile.cuh"
#include "kernels/cuda/gemm/gemm_fp8_tiles.cuh"

namespace troupe::kernels::cuda {

struct Fp8WeightsArgs {
  int groups;
  int rows;  ///< M
  int cols;  ///< N
  const int32_t* block_offsets;
  float* c;                  ///< [groups, M, N]
  int64_t* const* sums;      ///< [groups, parts] of [M / parts, N] where the result is fixed-point
  int parts;
  FixedPointRule fixed;
};

constexpr int weights_stages = 4;  // even: blocks' products alternate
constexpr int weights_stage_bytes = 2 * 128 * 128;
constexpr int weights_scales_bytes = 2 * 128 * 4;
constexpr int weights_ring_bytes = weights_stages * (weights_stage_bytes + weights_scales_bytes + 16);
constexpr int weights_bytes = weights_ring_bytes + 8 * AddedParts::bytes;
static_assert(weights_bytes <= 227 * 1024);

/// 128 x 128 a block; two blocks of a cluster, one below the other, share b. Result: float or
/// FixedPoint.
template <typename Result, bool kPromotes>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    fp8_weights(const __grid_constant__ CUtensorMap a_map,
                const __grid_constant__ CUtensorMap b_map,
                const __grid_constant__ CUtensorMap a_scales_map,
                const __grid_constant__ CUtensorMap b_scales_map, const Fp8WeightsArgs args) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t stages = shared_address(memory);
  const uint32_t scales = stages + weights_stages * weights_stage_bytes;
  const uint32_t full = scales + weights_stages * weights_scales_bytes;
  const uint32_t empty = full + weights_stages * 8;
  const int rank = static_cast<int>(cluster_rank());
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < weights_stages; ++stage) {
      init_barrier(full + stage * 8, 1);
      init_barrier(empty + stage * 8, 2 * 8);
    }
    publish_barriers();
  }
  meet_cluster();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  TileWalk<128, 128, 2, 1, false> walk({nullptr, nullptr, args.groups, args.rows}, args.cols,
                                       blockIdx.x / 2, gridDim.x / 2);
  TilePlace tile;
  StageParities parities;
  const auto block_offset = [&](int group) {
    return __shfl_sync(~0u, __ldg(args.block_offsets + group), 0);
  };

  if (warp >= 8) {
    release_registers<24>();
    if (warp == 8) {
      while (walk.next(rank, tile)) {
        const int end = block_offset(tile.group + 1);
        for (int k = block_offset(tile.group), stage = 0; k < end; ++k) {
          wait_barrier(empty + stage * 8, parities.of(stage) ^ 1);
          parities.turn(stage);
          if (lane == 0) {
            const uint32_t barrier = full + stage * 8;
            const uint32_t a = stages + stage * weights_stage_bytes, b = a + 128 * 128;
            const uint32_t line = scales + stage * weights_scales_bytes;
            arrive_expecting(barrier, weights_stage_bytes + weights_scales_bytes);
            copy_box(a, &a_map, barrier, 128 * k, tile.row);
            copy_box_to(b + rank * 64 * 128, &b_map, barrier, 128 * k, tile.col + rank * 64, 3);
            copy_box(line, &a_scales_map, barrier, tile.row, k);
            copy_box(line + 512, &b_scales_map, barrier, tile.col, k);
          }
          stage = stage == weights_stages - 1 ? 0 : stage + 1;
          __syncwarp();
        }
      }
    }
  } else {
    take_registers<240>();
    const int warpgroup = warp / 4;
    const uint32_t rows_at = scales + 4 * (64 * warpgroup + 16 * (warp % 4) + lane / 4);
    const uint32_t cols_at = scales + 512 + 8 * (lane % 4);
    const uint64_t a_tile = inner_tile(stages + warpgroup * 64 * 128);
    const uint64_t b_tile = inner_tile(stages + 128 * 128);
    float total[64], partials[2][64];  // products of even and odd blocks
    const auto issue = [&](int, int stage) {
      wait_barrier(full + stage * 8, parities.of(stage));
      parities.turn(stage);
      uint64_t a = a_tile, b = b_tile;
      asm volatile("" : "+l"(a), "+l"(b));  // as in fp8_tiles
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        const uint64_t at = stage * (weights_stage_bytes / 16) + 2 * step;
        ProductE4m3<128>::add(partials[stage % 2], a + at, b + at, step > 0);
      }
      commit_products();
    };
    const auto finish = [&](int stage) {
      float(&partial)[64] = partials[stage % 2];
      pin(partial);
      const uint32_t shift = stage * weights_scales_bytes;
      const float upper = load_shared(rows_at + shift), lower = load_shared(rows_at + shift + 32);
      // By fours, so that no more scales than registers are read ahead.
      float2 ahead[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) ahead[j] = load_shared_pair(cols_at + shift + 32 * j);
#pragma unroll
      for (int four = 0; four < 16; four += 4) {
        float2 across[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          across[j] = ahead[j];
          if (four < 12) ahead[j] = load_shared_pair(cols_at + shift + 32 * (four + 4 + j));
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int i = 4 * (four + j);
          total[i] = __fmaf_rn(partial[i], upper * across[j].x, total[i]);
          total[i + 1] = __fmaf_rn(partial[i + 1], upper * across[j].y, total[i + 1]);
          total[i + 2] = __fmaf_rn(partial[i + 2], lower * across[j].x, total[i + 2]);
          total[i + 3] = __fmaf_rn(partial[i + 3], lower * across[j].y, total[i + 3]);
        }
#pragma unroll
        for (int i = 4 * four; i < 4 * four + 16; ++i) asm volatile("" : "+f"(total[i]));
      }
      __syncwarp();  // all lanes have read the scales
      if (lane < 2) arrive_at(empty + stage * 8, lane);
    };
    bool more = walk.next(rank, tile);
    while (more) {
#pragma unroll
      for (int i = 0; i < 64; ++i) total[i] = 0.0f;
      const int count = block_offset(tile.group + 1) - block_offset(tile.group);
      const int row = tile.row + 64 * warpgroup;
      if constexpr (!kPromotes) {
        UnpromotedSums unpromoted;
        for (int k = 0, stage = 0; k < count; ++k) {
          wait_barrier(full + stage * 8, parities.of(stage));
          parities.turn(stage);
          const uint32_t at = stage * weights_scales_bytes, tile_at = stage * (weights_stage_bytes / 16);
          Fp8BlockScales block{{load_shared(rows_at + at), load_shared(rows_at + at + 32)}, {}};
#pragma unroll
          for (int j = 0; j < 16; ++j) {
            const float2 pair = load_shared_pair(cols_at + at + 32 * j);
            block.cols[2 * j] = pair.x;
            block.cols[2 * j + 1] = pair.y;
          }
          unpromoted.add(a_tile + tile_at, b_tile + tile_at, block);
          if (lane < 2) arrive_at(empty + stage * 8, lane);
          stage = stage == weights_stages - 1 ? 0 : stage + 1;
        }
        unpromoted.write(total);
      } else if (count > 0) {
        issue(0, 0);
        int k = 0;
        for (; k + weights_stages < count; k += weights_stages) {
#pragma unroll
          for (int stage = 0; stage < weights_stages; ++stage) {
            issue(0, (stage + 1) % weights_stages);
            wait_products<1>();
            finish(stage);
          }
        }
        finish_rest<0, weights_stages>(k, count, issue, finish);
      }
      if constexpr (std::is_same_v<Result, FixedPoint>) {
        if (count > 0 || args.fixed.is_first) {
          const int part_rows = args.rows / args.parts;
          const int part = min(tile.row / part_rows, args.parts - 1);
          auto* const sum = reinterpret_cast<unsigned long long*>(
              args.sums[tile.group * args.parts + part]);
          add_fixed_point<128>(total, sum, args.fixed,
                               {args.cols, row - part * part_rows, part_rows, tile.col, args.cols},
                               stages + weights_ring_bytes + warp * AddedParts::bytes);
        }
      } else {
        store_f32<128>(total, args.c + int64_t{tile.group} * args.rows * args.cols,
                       {args.cols, row, args.rows, tile.col, args.cols});
      }
      more = walk.next(rank, tile);
    }
    if constexpr (std::is_same_v<Result, FixedPoint>) wait_copied();
  }
  meet_cluster();
}

}  // namespace troupe::kernels::cuda
