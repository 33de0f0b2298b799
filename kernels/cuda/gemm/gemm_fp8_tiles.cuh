// The FP8 product for many rows: a persistent block an SM, in clusters of two that share a tile of
// one operand; one warp feeds a ring of stages by TMA, two warpgroups multiply and promote.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "kernels/cuda/gemm/gemm_fp8_unpromoted.cuh"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/gemm/tile_walk.cuh"
#include "kernels/cuda/sm90/tma.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace troupe::kernels::cuda {

/// What the two blocks of a cluster have in common: tiles one below the other share columns, that
/// is b; side by side, rows, that is a.
enum class Share { b, a };

struct Fp8TilesArgs {
  RowGroups groups;
  int cols;          ///< N
  int k_blocks;      ///< of 128
  int chunk_blocks;  ///< see KChunks
  void* c;
  int64_t c_stride;
  float4* sums;  ///< of the chunks before: a slot for each float4 of a thread's totals
};

/// A stage holds 128 of K: 128 rows of a and of b, and the scales of both.
struct Fp8Ring {
  static constexpr int count = 6;
  static constexpr int half_bytes = 128 * 128;
  static constexpr int stage_bytes = 2 * half_bytes;
  /// Copies begin at multiples of 16 bytes, groups at any row: up to 3 rows more.
  static constexpr int a_scales_box = 128 + 4;
  static constexpr int b_scales_box = 4;  ///< of K
  static constexpr int b_scales_at = 640;
  static constexpr int scales_bytes = 4 * (a_scales_box + b_scales_box);
  static constexpr int scales_stride = b_scales_at + 128;
  static constexpr int bytes = count * (stage_bytes + scales_stride + 16);

  uint32_t stages;
  __device__ uint32_t a(int stage) const { return stages + stage * stage_bytes; }
  __device__ uint32_t b(int stage) const { return a(stage) + half_bytes; }
  __device__ uint32_t scales(int stage) const {
    return stages + count * stage_bytes + stage * scales_stride;
  }
  __device__ uint32_t full(int stage) const {
    return stages + count * (stage_bytes + scales_stride) + stage * 8;
  }
  __device__ uint32_t empty(int stage) const { return full(stage) + count * 8; }
};

/// Parities of the next phase of each stage. Every chunk of a tile begins at stage 0, so that the
/// stage of a block is known to the compiler; stages are not used equally often.
class StageParities {
 public:
  __device__ uint32_t of(int stage) const { return bits_ >> stage & 1; }
  __device__ void turn(int stage) { bits_ ^= 1u << stage; }

 private:
  uint32_t bits_ = 0;
};

/// Adds what the chunks before summed to the totals of this one. All is read before the first use.
__device__ inline void add_sums(const float4* sums, float (&total)[64]) {
  const int stride = gridDim.x * 256;
  float4 before[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) before[i] = sums[i * stride];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    total[4 * i] = before[i].x + total[4 * i];
    total[4 * i + 1] = before[i].y + total[4 * i + 1];
    total[4 * i + 2] = before[i].z + total[4 * i + 2];
    total[4 * i + 3] = before[i].w + total[4 * i + 3];
  }
}
__device__ inline void keep_sums(float4* sums, float (&total)[64]) {
  const int stride = gridDim.x * 256;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    sums[i * stride] =
        make_float4(total[4 * i], total[4 * i + 1], total[4 * i + 2], total[4 * i + 3]);
    total[4 * i] = total[4 * i + 1] = total[4 * i + 2] = total[4 * i + 3] = 0.0f;
  }
}

/// The last blocks of a chunk, from block `k` + kStage on, which is under way.
template <int kStage, int kStages, typename Issue, typename Finish>
__device__ inline void finish_rest(int k, int end, const Issue& issue, const Finish& finish) {
  if constexpr (kStage < kStages) {
    if (k + kStage + 1 < end) {
      issue(k + kStage + 1, kStage + 1);
      wait_products<1>();
      finish(kStage);
      finish_rest<kStage + 1, kStages>(k, end, issue, finish);
    } else {
      wait_products<0>();
      finish(kStage);
    }
  }
}

/// Result: __nv_bfloat16 or RoundedBf16. Without promotion K is one chunk.
template <Share kShare, bool kListed, typename Result, bool kPromotes>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    fp8_tiles(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
              const __grid_constant__ CUtensorMap a_scales_map,
              const __grid_constant__ CUtensorMap b_scales_map, const Fp8TilesArgs args) {
  using Ring = Fp8Ring;
  using Walk = TileWalk<128, 128, kShare == Share::b ? 2 : 1, kShare == Share::a ? 2 : 1, kListed>;
  extern __shared__ __align__(1024) uint8_t memory[];
  const Ring ring{shared_address(memory)};
  const int rank = static_cast<int>(cluster_rank());
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Ring::count; ++stage) {
      init_barrier(ring.full(stage), 1);
      init_barrier(ring.empty(stage), 2 * 8);  // a warp of either block arrives at both
    }
    publish_barriers();
  }
  meet_cluster();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  Walk walk(args.groups, args.cols, blockIdx.x / 2, gridDim.x / 2);
  TilePlace tile;
  StageParities parities;

  if (warp >= 8) {
    release_registers<24>();
    if (warp == 8) {
      const int col_blocks = (args.cols + 127) / 128;
      while (walk.next(rank, tile)) {
        const int b_row = tile.group * args.cols + tile.col;
        const int b_block = tile.group * col_blocks + tile.col / 128;
        for (int k = 0, stage = 0, end = args.chunk_blocks; k < args.k_blocks; ++k) {
          if (k == end) {
            stage = 0;
            end += args.chunk_blocks;
          }
          wait_barrier(ring.empty(stage), parities.of(stage) ^ 1);
          parities.turn(stage);
          if (lane == 0) {
            const uint32_t full = ring.full(stage), scales = ring.scales(stage);
            arrive_expecting(full, Ring::stage_bytes + Ring::scales_bytes);
            if constexpr (kShare == Share::b) {
              copy_box(ring.a(stage), &a_map, full, 128 * k, tile.row);
              copy_box_to(ring.b(stage) + rank * 64 * 128, &b_map, full, 128 * k, b_row + rank * 64,
                          3);
            } else {
              copy_box(ring.b(stage), &b_map, full, 128 * k, b_row);
              copy_box_to(ring.a(stage) + rank * 64 * 128, &a_map, full, 128 * k,
                          tile.row + rank * 64, 3);
            }
            copy_box(scales, &a_scales_map, full, tile.row & ~3, k);
            copy_box(scales + Ring::b_scales_at, &b_scales_map, full, k & ~3, b_block);
          }
          __syncwarp();
          stage = stage == Ring::count - 1 ? 0 : stage + 1;
        }
      }
    }
  } else {
    take_registers<240>();
    const int warpgroup = warp / 4;
    const uint32_t line = ring.scales(0) + 4 * (64 * warpgroup + 16 * (warp % 4) + lane / 4);
    const uint32_t b_scales = ring.scales(0) + Ring::b_scales_at;
    const uint64_t a_tile = inner_tile(ring.a(0) + warpgroup * 64 * 128);
    const uint64_t b_tile = inner_tile(ring.b(0));
    float4* sums = args.sums + blockIdx.x * 256 + threadIdx.x;
    float total[64], partial[2][64];  // products of even and odd blocks
    float scales[2][3];               // of those: of two rows of a, then of b
    uint32_t shift = 0;               // of a's scales, where a group begins at any row
    // Starts the products of block k of the tile, which is in `stage`.
    const auto issue = [&](int k, int stage) {
      wait_barrier(ring.full(stage), parities.of(stage));
      parities.turn(stage);
      uint64_t a = a_tile, b = b_tile;
      asm volatile("" : "+l"(a), "+l"(b));  // else 48 sums of them would be kept in registers
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        const uint64_t at = stage * (Ring::stage_bytes / 16) + 2 * step;
        ProductE4m3<128>::add(partial[stage % 2], a + at, b + at, step > 0);
      }
      commit_products();
      float(&scale)[3] = scales[stage % 2];
      scale[0] = load_shared(line + shift + stage * Ring::scales_stride);
      scale[1] = load_shared(line + shift + stage * Ring::scales_stride + 32);
      scale[2] = load_shared(b_scales + (k & 3) * 4 + stage * Ring::scales_stride);
    };
    // Lets go of the stage of products that have ended, and adds them.
    const auto finish = [&](int stage) {
      pin(partial[stage % 2]);
      if (lane < 2) arrive_at(ring.empty(stage), lane);
      const float(&scale)[3] = scales[stage % 2];
      const float both[2] = {scale[0] * scale[2], scale[1] * scale[2]};
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        total[i] = __fmaf_rn(partial[stage % 2][i], both[i / 2 % 2], total[i]);
      }
    };
    bool more = walk.next(rank, tile);
    while (more) {
      if constexpr (kListed) shift = 4 * (tile.row % 4);
      if constexpr (kPromotes) {
        issue(0, 0);
#pragma unroll
        for (int i = 0; i < 64; ++i) total[i] = 0.0f;
        bool first_chunk = true;
        int k = 0;
        while (true) {
          const int end = min(k + args.chunk_blocks, args.k_blocks);
          for (; k + Ring::count < end; k += Ring::count) {
#pragma unroll
            for (int stage = 0; stage < Ring::count; ++stage) {
              issue(k + stage + 1, (stage + 1) % Ring::count);
              wait_products<1>();
              finish(stage);
            }
          }
          finish_rest<0, Ring::count>(k, end, issue, finish);
          k = end;
          if (k >= args.k_blocks) break;
          if (!first_chunk) add_sums(sums, total);
          keep_sums(sums, total);
          first_chunk = false;
          issue(k, 0);
        }
        if (!first_chunk) add_sums(sums, total);
      } else {
        UnpromotedSums unpromoted;
        for (int k = 0, stage = 0; k < args.k_blocks; ++k) {
          wait_barrier(ring.full(stage), parities.of(stage));
          parities.turn(stage);
          const uint32_t at = stage * Ring::scales_stride, tile_at = stage * (Ring::stage_bytes / 16);
          Fp8BlockScales block{{load_shared(line + shift + at), load_shared(line + shift + at + 32)}, {}};
          const float b_scale = load_shared(b_scales + (k & 3) * 4 + at);
#pragma unroll
          for (float& col : block.cols) col = b_scale;
          unpromoted.add(a_tile + tile_at, b_tile + tile_at, block);
          if (lane < 2) arrive_at(ring.empty(stage), lane);
          stage = stage == Ring::count - 1 ? 0 : stage + 1;
        }
        unpromoted.write(total);
      }
      const TileTarget target{args.c_stride, tile.row + 64 * warpgroup, tile.row_end, tile.col,
                              args.cols};
      if constexpr (std::is_same_v<Result, RoundedBf16>) {
        store_f32<128, true>(total, static_cast<float*>(args.c), target);
      } else {
        store_bf16<128>(total, static_cast<__nv_bfloat16*>(args.c), target);
      }
      more = walk.next(rank, tile);
    }
  }
  meet_cluster();  // nobody leaves while the other may still write here
}

}  // namespace troupe::kernels::cuda
