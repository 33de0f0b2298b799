// Which tile of which head of which sequence a block of attention computes, and what the kernels of
// attention share besides.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_sm90.h"

namespace troupe::kernels::cuda {

/// How the items of a call are numbered: by sequence, then by groups of heads whose keys and values
/// (or queries) stay in L2 together, then by tile, then by head of the group.
struct AttentionItems {
  int tile;  ///< rows of queries, or keys, of an item
  const int32_t* offsets;
  int longest;
  int sequences;
  int first_head;
  int heads;
  int heads_together;
};

struct AttentionItem {
  int sequence;
  int head;
  int tile;         ///< from 0, in the order of the numbering
  int tiles;        ///< of the sequence
  int first;        ///< row of the sequence
  int rows;         ///< of the sequence
  int64_t squares;  ///< gradient squares of the sequences before, a head (see gradient_squares)
};

/// Squares of 128 keys by 64 queries of one head that are not masked altogether.
__host__ __device__ inline int64_t gradient_squares(int64_t rows) {
  const int64_t queries = (rows + 63) / 64, keys = (queries + 1) / 2;
  return keys * queries - keys * (keys - 1);
}
/// Which of them keys' tile `key` and queries' tile `query` are.
__device__ inline int64_t gradient_square(int rows, int key, int query) {
  const int64_t queries = (rows + 63) / 64;
  return key * queries - int64_t{key} * (key - 1) + query - 2 * key;
}

/// Item number `unit`; false when there are not so many. Whole warps ask.
__device__ inline bool find_item(const AttentionItems& items, int64_t unit, AttentionItem& item) {
  const int lane = threadIdx.x % 32;
  int64_t squares = 0;
  int sequence = 0, first = 0, rows = items.longest;
  if (items.offsets == nullptr) {
    const int64_t each = int64_t{(rows + items.tile - 1) / items.tile} * items.heads;
    sequence = static_cast<int>(unit / each);
    if (sequence >= items.sequences) return false;
    unit -= sequence * each;
    first = sequence * rows;
    squares = sequence * gradient_squares(rows);
  } else {
    for (int base = 0;; base += 32) {
      if (base >= items.sequences) return false;
      const int mine = base + lane;
      const int begin = mine < items.sequences ? __ldg(items.offsets + mine) : 0;
      const int end = mine < items.sequences ? __ldg(items.offsets + mine + 1) : 0;
      const int tiles = (end - begin + items.tile - 1) / items.tile;
      int64_t units = int64_t{tiles} * items.heads, before = gradient_squares(end - begin);
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int64_t u = __shfl_up_sync(~0u, units, step), b = __shfl_up_sync(~0u, before, step);
        units += lane >= step ? u : 0;
        before += lane >= step ? b : 0;
      }
      const uint32_t found = __ballot_sync(~0u, units > unit);
      if (found == 0) {
        unit -= __shfl_sync(~0u, units, 31);
        squares += __shfl_sync(~0u, before, 31);
        continue;
      }
      const int at = __ffs(static_cast<int>(found)) - 1;
      sequence = base + at;
      first = __shfl_sync(~0u, begin, at);
      rows = __shfl_sync(~0u, end, at) - first;
      unit -=
          __shfl_sync(~0u, units, at) - int64_t{(rows + items.tile - 1) / items.tile} * items.heads;
      squares += __shfl_sync(~0u, before, at) - gradient_squares(rows);
      break;
    }
  }
  const int tiles = (rows + items.tile - 1) / items.tile;
  const int local = static_cast<int>(unit);
  const int group = local / (items.heads_together * tiles);
  const int in_group = local - group * items.heads_together * tiles;
  const int group_heads = min(items.heads_together, items.heads - group * items.heads_together);
  item.sequence = sequence;
  item.tile = in_group / group_heads;
  item.head = items.first_head + group * items.heads_together + in_group % group_heads;
  item.tiles = tiles;
  item.first = first;
  item.rows = rows;
  item.squares = squares;
  return true;
}

/// 2^x as the GPU approximates it; 0 for -infinity, and for results below 2^-126.
__device__ inline float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Zeroes the rows of 128 bytes from `begin` to `end` of `panels` panels in shared memory, for
/// tensor cores to read: what stands behind a sequence's end may be NaN, which 0 does not remove.
/// `thread` of `threads` threads; they must meet after it.
__device__ inline void zero_rows(uint32_t address, int panels, uint32_t panel_bytes, int begin,
                                 int end, int thread, int threads) {
  for (int panel = 0; panel < panels; ++panel) {
    for (int at = begin * 128 + thread * 16; at < end * 128; at += threads * 16) {
      asm volatile(
          "st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address + panel * panel_bytes + at),
          "r"(0)
          : "memory");
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace troupe::kernels::cuda
