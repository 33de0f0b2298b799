// The second half of attention's backward: dq from the gradients of scores that the first left in
// memory (attention_backward_tiles.cuh).
#pragma once

#include "kernels/cuda/attention/attention_backward_tiles.cuh"

namespace troupe::kernels::cuda {

struct AttentionQueriesMemory {
  static constexpr int stages = 4;
  static constexpr int panel_bytes = 64 * 128;
  static constexpr int squares_bytes = 4 * panel_bytes;
  static constexpr int stage_bytes = 7 * panel_bytes;  ///< four halves of squares, 64 keys
  static constexpr int full = stages * stage_bytes, empty = full + 8 * stages;
  static constexpr int bytes = empty + 8 * stages;
};

/// dq of 256 queries of a head, 128 a warpgroup.
__global__ void __launch_bounds__(384, 1)
    attention_backward_queries(const __grid_constant__ CUtensorMap k_map,
                               const __grid_constant__ CUtensorMap k_rope_map,
                               const AttentionBackwardTiles args) {
  using Memory = AttentionQueriesMemory;
  constexpr int stages = Memory::stages;
  extern __shared__ __align__(1024) uint8_t memory[];
  AttentionItem item;
  if (!find_item(args.items, blockIdx.x, item)) return;
  const uint32_t base = shared_address(memory);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < stages; ++stage) {
      init_barrier(base + Memory::full + 8 * stage, 1);
      init_barrier(base + Memory::empty + 8 * stage, 8);
    }
    publish_barriers();
  }
  __syncthreads();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int first = 4 * (item.tiles - 1 - item.tile);  // tile of 64 queries; long ones first
  const int all = (item.rows + 63) / 64;
  const int halves = min(first + 4, all);  // of keys, 64 each
  RingPlace place;

  if (warp >= 8) {
    release_registers<24>();
    if (warp == 8 && lane == 0) {
      const uint8_t* squares =
          args.squares + ((item.head - args.items.first_head) * args.head_squares + item.squares) *
                             int64_t{square_bytes};
      for (int half = 0; half < halves; ++half) {
        const uint32_t barrier = base + Memory::full + 8 * place.stage;
        const uint32_t to = base + place.stage * Memory::stage_bytes;
        const int begin = half < first + 2 ? 0 : 2, end = min(4, all - first);
        wait_barrier(base + Memory::empty + 8 * place.stage, place.parity ^ 1);
        arrive_expecting(barrier, (3 + end - begin) * Memory::panel_bytes);
        for (int i = begin; i < end; ++i) {
          copy_bytes(to + i * Memory::panel_bytes,
                     squares + gradient_square(item.rows, half / 2, first + i) * square_bytes +
                         half % 2 * (square_bytes / 2),
                     square_bytes / 2, barrier);
        }
        const int y = item.first + 64 * half;
        const uint32_t keys = to + Memory::squares_bytes;
        copy_box(keys, &k_map, barrier, item.head * args.k_head_stride, y);
        copy_box(keys + Memory::panel_bytes, &k_map, barrier, item.head * args.k_head_stride + 64,
                 y);
        copy_box(keys + 2 * Memory::panel_bytes, &k_rope_map, barrier,
                 item.head * args.k_rope_head_stride, y);
        place.advance(stages);
      }
    }
  } else {
    take_registers<240>();
    const int warpgroup = warp / 4;
    const int own_halves = min(first + 2 + 2 * warpgroup, halves);
    float dq[2][96];
    int before = 0;
    const auto await_keys = [&](int half) {
      wait_barrier(base + Memory::full + 8 * place.stage, place.parity);
      if (64 * half + 64 > item.rows) {
        zero_rows(base + place.stage * Memory::stage_bytes + Memory::squares_bytes, 3,
                  Memory::panel_bytes, item.rows - 64 * half, 64, threadIdx.x, 256);
        meet_threads(1, 256);
      }
    };
    const auto release = [&](int stage) {
      if (lane == 0) arrive(base + Memory::empty + 8 * stage);
    };
    for (int half = 0; half < own_halves; ++half) {
      await_keys(half);
      const uint32_t stage = base + place.stage * Memory::stage_bytes;
      const uint64_t ds =
          outer_tile(stage + 2 * warpgroup * Memory::panel_bytes, Memory::panel_bytes);
      const uint64_t k = outer_tile(stage + Memory::squares_bytes, Memory::panel_bytes);
      pin(dq[0]);
      pin(dq[1]);
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          ProductBf16<192, true, true>::add(dq[i], ds + i * (Memory::panel_bytes / 16) + 128 * step,
                                            k + 128 * step, half > 0 || step > 0);
        }
      }
      commit_products();
      pin(dq[0]);
      pin(dq[1]);
      if (half > 0) {
        wait_products<1>();
        release(before);
      }
      before = place.stage;
      place.advance(stages);
    }
    wait_products<0>();
    pin(dq[0]);
    pin(dq[1]);
    release(before);
    for (int half = own_halves; half < halves; ++half, place.advance(stages)) {
      await_keys(half);
      release(place.stage);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int k = 0; k < 96; ++k) dq[i][k] = __fmul_rn(dq[i][k], args.scale);
      store_bf16<192>(dq[i], reinterpret_cast<__nv_bfloat16*>(args.dq.data),
                      item.first + 64 * (first + 2 * warpgroup + i), item.first + item.rows,
                      static_cast<int>(item.head * args.dq.head_stride),
                      static_cast<int>(args.dq.row_stride));
    }
  }
}

}  // namespace troupe::kernels::cuda
