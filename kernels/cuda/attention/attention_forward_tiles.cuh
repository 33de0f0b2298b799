// Attention's forward: a persistent block an SM takes 128 queries of a head at a time; one warp
// feeds tiles of 128 keys and values by TMA, two warpgroups of 64 queries each multiply. While a
// warpgroup makes the probabilities of one tile of keys, its products with the values of the tile
// before are under way, and the other warpgroup's of its own.
#pragma once

#include "kernels/cuda/attention/attention_items.cuh"
#include "kernels/cuda/attention/attention_softmax.cuh"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/tma.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace troupe::kernels::cuda {

constexpr int attention_tile = 128;  ///< queries of an item, and keys of a step

struct AttentionForwardTiles {
  AttentionItems items;  ///< of queries
  const int32_t* key_offsets;
  int longest_keys;
  int q_head_stride, k_head_stride, k_rope_head_stride, v_head_stride;
  float scale_log2;  ///< scale times log2 e
  __nv_bfloat16* o;
  float* log_sums;
  int64_t total;  ///< Tq
  int32_t* counter;
};

/// What a block's shared memory holds; panels are of 64 columns, rows of 128 bytes.
struct AttentionForwardMemory {
  static constexpr int stages = 2;
  static constexpr int panel_bytes = attention_tile * 128;
  static constexpr int q_bytes = 3 * panel_bytes, k_bytes = 3 * panel_bytes;
  static constexpr int v_bytes = 2 * panel_bytes;
  static constexpr int q = 0, k = q_bytes, v = k + stages * k_bytes;
  static constexpr int barriers = v + stages * v_bytes;
  static constexpr int q_full = barriers, q_empty = q_full + 8, k_full = q_empty + 8;
  static constexpr int k_empty = k_full + 8 * stages, v_full = k_empty + 8 * stages;
  static constexpr int v_empty = v_full + 8 * stages, tile = v_empty + 8 * stages;
  static constexpr int bytes = tile + 32;
};

/// What the warp that copies tells the others of a tile of queries.
struct ForwardTile {
  int key_tiles;  ///< 0: there are no more
  int head;
  int row;       ///< first of the queries
  int row_end;   ///< of the sequence
  int position;  ///< of the first query
  int keys;      ///< of the sequence
};

__device__ inline void scores_of_tile(float (&s)[64], uint64_t q, uint64_t k) {
#pragma unroll
  for (int step = 0; step < 12; ++step) {
    const int at = step / 4 * (AttentionForwardMemory::panel_bytes / 16) + step % 4 * 2;
    ProductBf16<128, false, false>::add(s, q + at, k + at, step > 0);
  }
}
__device__ inline void add_values(float (&o)[64], const uint32_t (&p)[32], uint64_t v, bool add) {
#pragma unroll
  for (int step = 0; step < 8; ++step) {
    ProductBf16OfRegisters<128, true>::add(o, p + 4 * step, v + 128 * step, add || step > 0);
  }
}

__global__ void __launch_bounds__(384, 1)
    attention_forward_tiles(const __grid_constant__ CUtensorMap q_map,
                            const __grid_constant__ CUtensorMap k_map,
                            const __grid_constant__ CUtensorMap k_rope_map,
                            const __grid_constant__ CUtensorMap v_map,
                            const AttentionForwardTiles args) {
  using Memory = AttentionForwardMemory;
  constexpr int stages = Memory::stages;
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = shared_address(memory);
  volatile ForwardTile& shared_tile = *reinterpret_cast<ForwardTile*>(memory + Memory::tile);
  if (threadIdx.x == 0) {
    init_barrier(base + Memory::q_full, 1);
    init_barrier(base + Memory::q_empty, 256);
    for (int stage = 0; stage < stages; ++stage) {
      init_barrier(base + Memory::k_full + 8 * stage, 1);
      init_barrier(base + Memory::k_empty + 8 * stage, 8);
      init_barrier(base + Memory::v_full + 8 * stage, 1);
      init_barrier(base + Memory::v_empty + 8 * stage, 8);
    }
    publish_barriers();
  }
  __syncthreads();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  RingPlace k_place, v_place;
  uint32_t q_parity = 0;

  if (warp >= 8) {
    release_registers<24>();
    if (warp == 8) {
      int64_t unit = blockIdx.x;
      AttentionItem item;
      while (find_item(args.items, unit, item)) {
        const int taken = lane == 0 ? atomicAdd(args.counter, 1) : 0;
        const int s = item.sequence;
        const int key_first =
            args.key_offsets != nullptr ? __ldg(args.key_offsets + s) : s * args.longest_keys;
        const int keys = args.key_offsets != nullptr ? __ldg(args.key_offsets + s + 1) - key_first
                                                     : args.longest_keys;
        const int tile = item.tiles - 1 - item.tile;  // long ones first
        const int position = keys - item.rows + tile * attention_tile;
        const int key_tiles =
            (min(position + attention_tile, keys) + attention_tile - 1) / attention_tile;
        const int row = item.first + tile * attention_tile;
        wait_barrier(base + Memory::q_empty, q_parity ^ 1);
        q_parity ^= 1;
        if (lane == 0) {
          shared_tile.key_tiles = key_tiles;
          shared_tile.head = item.head;
          shared_tile.row = row;
          shared_tile.row_end = item.first + item.rows;
          shared_tile.position = position;
          shared_tile.keys = keys;
          arrive_expecting(base + Memory::q_full, Memory::q_bytes);
#pragma unroll
          for (int panel = 0; panel < 3; ++panel) {
            copy_box(base + Memory::q + panel * Memory::panel_bytes, &q_map, base + Memory::q_full,
                     item.head * args.q_head_stride + 64 * panel, row);
          }
        }
        for (int j = 0; j <= key_tiles; ++j) {
          if (j < key_tiles) {
            const uint32_t barrier = base + Memory::k_full + 8 * k_place.stage;
            const uint32_t to = base + Memory::k + k_place.stage * Memory::k_bytes;
            wait_barrier(base + Memory::k_empty + 8 * k_place.stage, k_place.parity ^ 1);
            if (lane == 0) {
              const int y = key_first + j * attention_tile;
              arrive_expecting(barrier, Memory::k_bytes);
              copy_box(to, &k_map, barrier, item.head * args.k_head_stride, y);
              copy_box(to + Memory::panel_bytes, &k_map, barrier,
                       item.head * args.k_head_stride + 64, y);
              copy_box(to + 2 * Memory::panel_bytes, &k_rope_map, barrier,
                       item.head * args.k_rope_head_stride, y);
            }
            k_place.advance(stages);
          }
          if (j > 0) {
            const uint32_t barrier = base + Memory::v_full + 8 * v_place.stage;
            const uint32_t to = base + Memory::v + v_place.stage * Memory::v_bytes;
            wait_barrier(base + Memory::v_empty + 8 * v_place.stage, v_place.parity ^ 1);
            if (lane == 0) {
              const int y = key_first + (j - 1) * attention_tile;
              arrive_expecting(barrier, Memory::v_bytes);
              copy_box(to, &v_map, barrier, item.head * args.v_head_stride, y);
              copy_box(to + Memory::panel_bytes, &v_map, barrier,
                       item.head * args.v_head_stride + 64, y);
            }
            v_place.advance(stages);
          }
          __syncwarp();
        }
        unit = int64_t{gridDim.x} + __shfl_sync(~0u, taken, 0);
      }
      wait_barrier(base + Memory::q_empty, q_parity ^ 1);
      if (lane == 0) {
        shared_tile.key_tiles = 0;
        arrive(base + Memory::q_full);
      }
    }
  } else {
    take_registers<240>();
    const int warpgroup = warp / 4;
    const int line = 64 * warpgroup + 16 * (warp % 4) + lane / 4, column = 2 * (lane % 4);
    const uint64_t q = inner_tile(base + Memory::q + warpgroup * 64 * 128);
    const uint64_t k = inner_tile(base + Memory::k);
    const uint64_t v = outer_tile(base + Memory::v, Memory::panel_bytes);
    const auto k_tile = [&] { return k + k_place.stage * (Memory::k_bytes / 16); };
    const auto v_tile = [&] { return v + v_place.stage * (Memory::v_bytes / 16); };
    const auto release = [&](uint32_t barriers, RingPlace& place) {
      if (lane == 0) arrive(base + barriers + 8 * place.stage);
      place.advance(stages);
    };
    float s[64], o[64];
    uint32_t p[32];
    while (true) {
      wait_barrier(base + Memory::q_full, q_parity);
      q_parity ^= 1;
      ForwardTile tile;
      tile.key_tiles = shared_tile.key_tiles;
      if (tile.key_tiles == 0) break;
      tile.head = shared_tile.head;
      tile.row = shared_tile.row;
      tile.row_end = shared_tile.row_end;
      tile.position = shared_tile.position;
      tile.keys = shared_tile.keys;
      const int seen[2] = {tile.position + line + 1, tile.position + line + 9};
      const int first_masked = tile.position / attention_tile;
      RunningSoftmax softmax;
      float fixed[2];

      wait_barrier(base + Memory::k_full + 8 * k_place.stage, k_place.parity);
      pin(s);
      begin_products();
      scores_of_tile(s, q, k_tile());
      commit_products();
      wait_products<0>();
      pin(s);
      release(Memory::k_empty, k_place);
      if (first_masked == 0) {
        softmax.take<true>(s, args.scale_log2, column, seen, fixed);
      } else {
        softmax.take<false>(s, args.scale_log2, column, seen, fixed);
      }
#pragma unroll
      for (int i = 0; i < 32; ++i) p[i] = bf16_pair(s[2 * i], s[2 * i + 1]);

      const auto step = [&](int j, auto masked) {
        wait_barrier(base + Memory::k_full + 8 * k_place.stage, k_place.parity);
        pin(s);
        pin(o);
        begin_products();
        scores_of_tile(s, q, k_tile());
        commit_products();
        wait_barrier(base + Memory::v_full + 8 * v_place.stage, v_place.parity);
        begin_products();
        add_values(o, p, v_tile(), j > 1);
        commit_products();
        wait_products<1>();
        pin(s);
        release(Memory::k_empty, k_place);
        softmax.take<decltype(masked)::value>(s, args.scale_log2, attention_tile * j + column, seen,
                                              fixed);
        wait_products<0>();
        pin(o);
        release(Memory::v_empty, v_place);
#pragma unroll
        for (int i = 0; i < 32; ++i) p[i] = bf16_pair(s[2 * i], s[2 * i + 1]);
        if (__any_sync(~0u, fixed[0] != 1 || fixed[1] != 1)) {
#pragma unroll
          for (int i = 0; i < 64; ++i) o[i] = __fmul_rn(o[i], fixed[i / 2 % 2]);
        }
      };
      int j = 1;
      for (; j < min(tile.key_tiles, first_masked); ++j) step(j, std::false_type{});
      for (; j < tile.key_tiles; ++j) step(j, std::true_type{});
      arrive(base + Memory::q_empty);  // every lane: each has read what the next tile is written over

      wait_barrier(base + Memory::v_full + 8 * v_place.stage, v_place.parity);
      if (const int last = tile.keys - (tile.key_tiles - 1) * attention_tile;
          last < attention_tile) {
        zero_rows(base + Memory::v + v_place.stage * Memory::v_bytes, 2, Memory::panel_bytes, last,
                  attention_tile, threadIdx.x, 256);
        meet_threads(3, 256);
      }
      pin(o);
      begin_products();
      add_values(o, p, v_tile(), tile.key_tiles > 1);
      commit_products();
      float scale[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float log_sum = softmax.finish(h, softmax.sum_of_row(h), args.scale_log2, scale[h]);
        const int row = tile.row + line + 8 * h;
        if (lane % 4 == 0 && row < tile.row_end) {
          args.log_sums[tile.head * args.total + row] = __fmul_rn(log_sum, ln_2);
        }
      }
      wait_products<0>();
      pin(o);
      release(Memory::v_empty, v_place);
#pragma unroll
      for (int i = 0; i < 64; ++i) o[i] = __fmul_rn(o[i], scale[i / 2 % 2]);
      store_bf16<128>(o, args.o, tile.row + 64 * warpgroup, tile.row_end, 128 * tile.head,
                      128 * args.items.heads);
    }
  }
}

}  // namespace troupe::kernels::cuda
