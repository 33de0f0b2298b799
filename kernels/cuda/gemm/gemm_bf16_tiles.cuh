// The BF16 product: a persistent block an SM, in clusters of two, one below the other, that share
// a tile of b; one warp feeds a ring of stages by TMA, two warpgroups multiply.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "kernels/cuda/gemm/gemm_bf16_wgmma.h"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/gemm/tile_walk.cuh"
#include "kernels/cuda/sm90/tma.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace troupe::kernels::cuda {

struct Bf16TilesArgs {
  int rows;      ///< M; all groups' together where they divide it
  int cols;      ///< N
  int k_blocks;  ///< of 64; unused where groups divide K
  int groups;
  int b_group_rows;  ///< from one group's matrix in b to the next one's
  int64_t c_stride;
  FixedPointRule fixed;
  int32_t begin[most_product_groups + 1];  ///< first row of each, of a; where K is divided of b too
  void* c[most_product_groups];            ///< results of groups of K; else the first alone
};

/// A stage holds 64 of K: 128 rows of a, kCols of b. An operand that is stored with K outermost
/// comes in panels of 64 columns.
template <int kCols, int kStages>
struct Bf16Ring {
  static constexpr int a_bytes = 128 * 128;
  static constexpr int b_bytes = kCols * 128;
  static constexpr int stage_bytes = a_bytes + b_bytes;
  static constexpr int panel_bytes = 64 * 128;
  static constexpr int bytes = kStages * (stage_bytes + 16);
};

template <bool kGroupsOfK>
__device__ inline int blocks_of_k(const Bf16TilesArgs& args, int group) {
  return kGroupsOfK ? (args.begin[group + 1] - args.begin[group] + 63) / 64 : args.k_blocks;
}

/// Rows behind the last of K, which belong to the next group, become zeros: panels of 64 rows of
/// 128 bytes. By the warpgroups that multiply.
__device__ inline void zero_tail(uint32_t panels, int count, int first_row) {
  const int chunks = (64 - first_row) * 8;
  for (int i = static_cast<int>(threadIdx.x); i < count * chunks; i += 256) {
    const uint32_t at = panels + i / chunks * 8192 + first_row * 128 + i % chunks * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync 1, 256;" ::: "memory");
}

/// A group without rows adds nothing, but where its sum is to begin.
template <int kCols>
__device__ void store_zeros(const Bf16TilesArgs& args, const TilePlace& tile, int warpgroup) {
  float zeros[kCols / 2];
#pragma unroll
  for (int i = 0; i < kCols / 2; ++i) zeros[i] = 0.0f;
  add_fixed_point<kCols>(
      zeros, static_cast<unsigned long long*>(args.c[tile.group]), args.fixed,
      {args.c_stride, tile.row + 64 * warpgroup, tile.row_end, tile.col, args.cols});
}

/// `kGroupsOfK`: each group has its own part of K and a result of its own (gradients of weights);
/// else its own rows of a and its own matrix in b.
template <int kCols, int kStages, bool kOuterA, bool kOuterB, bool kGroupsOfK, typename Result>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    bf16_tiles(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
               const __grid_constant__ Bf16TilesArgs args) {
  using Ring = Bf16Ring<kCols, kStages>;
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t stages = shared_address(memory);
  const uint32_t full = stages + kStages * Ring::stage_bytes, empty = full + kStages * 8;
  const int rank = static_cast<int>(cluster_rank());
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(full + stage * 8, 1);
      init_barrier(empty + stage * 8, 2 * 8);  // a warp of either block arrives at both
    }
    publish_barriers();
  }
  meet_cluster();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  TileWalk<128, kCols, 2, 1, !kGroupsOfK, ParameterGroups> walk(
      {args.begin, args.groups, args.rows}, args.cols, blockIdx.x / 2, gridDim.x / 2);
  TilePlace tile;
  RingPlace place;

  if (warp >= 8) {
    release_registers<40>();
    if (warp == 8) {
      while (walk.next(rank, tile)) {
        const int first = kGroupsOfK ? args.begin[tile.group] : 0;
        const int k_blocks = blocks_of_k<kGroupsOfK>(args, tile.group);
        const int b_row = kGroupsOfK ? first : tile.group * args.b_group_rows;
        for (int k = 0; k < k_blocks; ++k, place.advance(kStages)) {
          wait_barrier(empty + place.stage * 8, place.parity ^ 1);
          if (lane == 0) {
            const uint32_t barrier = full + place.stage * 8;
            const uint32_t a = stages + place.stage * Ring::stage_bytes;
            const uint32_t b = a + Ring::a_bytes + rank * (kCols / 2) * 128;
            arrive_expecting(barrier, Ring::stage_bytes);
            const int col = tile.col + rank * (kCols / 2);
            if constexpr (kOuterA) {
              copy_box(a, &a_map, barrier, tile.row, first + 64 * k);
              copy_box(a + Ring::panel_bytes, &a_map, barrier, tile.row + 64, first + 64 * k);
            } else {
              copy_box(a, &a_map, barrier, 64 * k, tile.row);
            }
            if constexpr (kOuterB) {
#pragma unroll
              for (int panel = 0; panel < kCols / 128; ++panel) {
                copy_box_to(b + panel * Ring::panel_bytes, &b_map, barrier, col + 64 * panel,
                            b_row + 64 * k, 3);
              }
            } else {
              copy_box_to(b, &b_map, barrier, 64 * k, b_row + col, 3);
            }
          }
          __syncwarp();
        }
      }
    }
  } else {
    take_registers<232>();
    const int warpgroup = warp / 4;
    constexpr int a_step = kOuterA ? 128 : 2, b_step = kOuterB ? 128 : 2;
    float sums[kCols / 2];
    while (walk.next(rank, tile)) {
      const int k_blocks = blocks_of_k<kGroupsOfK>(args, tile.group);
      if (kGroupsOfK && k_blocks == 0) {
        if constexpr (std::is_same_v<Result, FixedPoint>) {
          if (args.fixed.is_first) store_zeros<kCols>(args, tile, warpgroup);
        }
        continue;
      }
      int before = 0;  // the stage whose products may still be under way
      for (int k = 0; k < k_blocks; ++k) {
        wait_barrier(full + place.stage * 8, place.parity);
        if constexpr (kGroupsOfK) {
          const int there = args.begin[tile.group + 1] - args.begin[tile.group] - 64 * k;
          if (there < 64) {
            zero_tail(stages + place.stage * Ring::stage_bytes, 2 + kCols / 64, there);
          }
        }
        const uint32_t a_address = stages + place.stage * Ring::stage_bytes + warpgroup * 8192;
        const uint32_t b_address = stages + place.stage * Ring::stage_bytes + Ring::a_bytes;
        const uint64_t a =
            kOuterA ? outer_tile(a_address, Ring::panel_bytes) : inner_tile(a_address);
        const uint64_t b =
            kOuterB ? outer_tile(b_address, Ring::panel_bytes) : inner_tile(b_address);
        pin(sums);
        begin_products();
#pragma unroll
        for (int step = 0; step < 4; ++step) {
          ProductBf16<kCols, kOuterA, kOuterB>::add(sums, a + a_step * step, b + b_step * step,
                                                    k > 0 || step > 0);
        }
        commit_products();
        pin(sums);
        if (k > 0) {
          wait_products<1>();
          if (lane < 2) arrive_at(empty + before * 8, lane);
        }
        before = place.stage;
        place.advance(kStages);
      }
      wait_products<0>();
      pin(sums);
      if (lane < 2) arrive_at(empty + before * 8, lane);
      const TileTarget to{args.c_stride, tile.row + 64 * warpgroup, tile.row_end, tile.col,
                          args.cols};
      void* const c = args.c[kGroupsOfK ? tile.group : 0];
      if constexpr (std::is_same_v<Result, FixedPoint>) {
        add_fixed_point<kCols>(sums, static_cast<unsigned long long*>(c), args.fixed, to);
      } else if constexpr (std::is_same_v<Result, __nv_bfloat16>) {
        store_bf16<kCols>(sums, static_cast<__nv_bfloat16*>(c), to);
      } else {
        store_f32<kCols, std::is_same_v<Result, RoundedBf16>>(sums, static_cast<float*>(c), to);
      }
    }
  }
  meet_cluster();  // nobody leaves while the other may still write here
}

}  // namespace troupe::kernels::cuda
