// What a block of absorbed attention computes and keeps in shared memory, who brings it there, and
// how the splits of a row become one.
#pragma once

#include "kernels/cuda/attention/attention_decode_sm90.h"
#include "kernels/cuda/attention/attention_softmax.cuh"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/tma.cuh"

namespace troupe::kernels::cuda {

constexpr int decode_rows = 64, decode_keys = 64, decode_columns = 256;
constexpr int decode_split_tiles = 64;

struct AttentionDecodeTiles {
  int heads, sequences, tokens;
  float scale_log2;
  const int32_t* page_table;
  int64_t table_stride;
  const int32_t* lengths;
  int most_splits;
  __nv_bfloat16* o;
  float* log_sums;
  float* parts;          ///< [B, most_splits, tokens * H, 512] outputs of splits
  float* part_log_sums;  ///< [B, most_splits, tokens * H] log2 of their sums; -infinity: no keys
};

/// Panels are of 64 columns: 0 to 3 and 4 to 7 are values, 8 is rotated. Odd tiles' probabilities
/// lie where the queries' rotated columns were, which registers keep.
struct AttentionDecodeMemory {
  static constexpr int panel_bytes = 64 * 128, all_bytes = 9 * panel_bytes;
  static constexpr int q = 0, keys = all_bytes, first_odd = q + 8 * panel_bytes;
  static constexpr int first_even = keys + 2 * all_bytes;
  static constexpr int tops = first_even + panel_bytes;  ///< [2, 64], of even and odd tiles
  static constexpr int fixed = tops + 2 * 64 * 4, sums = fixed + 2 * 64 * 4;
  static constexpr int item = sums + 2 * 64 * 4;  ///< what the copied queries are of
  static constexpr int q_full = item + 32, q_empty = q_full + 8;
  static constexpr int rotated_empty = q_empty + 8;
  static constexpr int full = rotated_empty + 8;  ///< [2 tiles, 2 halves], as empty
  static constexpr int empty = full + 4 * 8, made = empty + 4 * 8, used = made + 2 * 8;
  static constexpr int met = used + 2 * 8;  ///< where both warpgroups meet
  static constexpr int bytes = met + 8;
};

struct DecodeItem {
  int sequence, first_row, keys;
  int split, splits;
  int first_tile, tiles;  ///< of 64 keys; tiles 0: the sequence has no keys
};

/// Items go by sequence, then by split, then by 64 rows, so that blocks that run together read the
/// same keys. Whole warps ask.
__device__ inline bool find_decode_item(const AttentionDecodeTiles& args, int unit,
                                        DecodeItem& item) {
  constexpr int split_keys = decode_split_tiles * decode_keys;
  const int lane = threadIdx.x % 32;
  const int groups = (args.tokens * args.heads + decode_rows - 1) / decode_rows;
  for (int base = 0; base < args.sequences; base += 32) {
    const bool is_there = base + lane < args.sequences;
    const int length = is_there ? __ldg(args.lengths + base + lane) : 0;
    int units = is_there ? groups * max((length + split_keys - 1) / split_keys, 1) : 0;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int before = __shfl_up_sync(~0u, units, step);
      units += lane >= step ? before : 0;
    }
    const uint32_t found = __ballot_sync(~0u, units > unit);
    if (found == 0) {
      unit -= __shfl_sync(~0u, units, 31);
      continue;
    }
    const int at = __ffs(static_cast<int>(found)) - 1;
    item.sequence = base + at;
    item.keys = __shfl_sync(~0u, length, at);
    item.splits = max((item.keys + split_keys - 1) / split_keys, 1);
    const int local = unit - __shfl_sync(~0u, units, at) + groups * item.splits;
    item.split = local / groups;
    item.first_row = local % groups * decode_rows;
    item.first_tile = item.split * decode_split_tiles;
    item.tiles =
        min(decode_split_tiles, (item.keys + decode_keys - 1) / decode_keys - item.first_tile);
    return true;
  }
  return false;
}

/// One of the two warps that copy: `half` 0 has panels 0 to 3 of tiles and the queries, 1 the rest.
/// Of what two blocks share each brings about half, to both.
template <bool kShared>
__device__ inline void copy_for_decode(const AttentionDecodeTiles& args, const CUtensorMap* q_map,
                                       const CUtensorMap* cache_map, uint32_t base, int half,
                                       DecodeItem* shared_item) {
  using Memory = AttentionDecodeMemory;
  const int lane = threadIdx.x % 32, rows = args.tokens * args.heads;
  const int first_panel = 4 * half, panels = 4 + half;
  const int step = kShared ? 2 : 1, rank = kShared ? static_cast<int>(cluster_rank()) : 0;
  DecodeItem item;
  uint32_t q_parity = 0, parities = 0;  // bit 0 of even tiles, bit 1 of odd ones
  for (int unit = blockIdx.x; find_decode_item(args, unit, item); unit += gridDim.x) {
    if (half == 0) {
      const uint32_t full = base + Memory::q_full;
      const int y = item.sequence * rows + item.first_row;
      wait_barrier(base + Memory::q_empty, q_parity ^ 1);
      if (lane == 0) {
        arrive_expecting(full, Memory::all_bytes);
        for (int panel = 0; panel < 8; ++panel) {
          copy_box(base + Memory::q + panel * Memory::panel_bytes, q_map, full, 64 * panel, y);
        }
      }
      wait_barrier(base + Memory::rotated_empty, q_parity ^ 1);
      if (lane == 0) {
        *shared_item = item;
        arrive(full);
        copy_box(base + Memory::first_odd, q_map, full, 512, y);
      }
      q_parity ^= 1;
    }
    const int32_t* table = args.page_table + item.sequence * args.table_stride;
    int pages = 0;
    for (int i = 0; i < item.tiles; ++i) {
      if (i % 32 == 0) pages = i + lane < item.tiles ? table[item.first_tile + i + lane] : 0;
      const int y = __shfl_sync(~0u, pages, i % 32) * attention_decode_page;
      const int at = i % 2;
      const uint32_t barrier = base + Memory::full + 8 * (2 * at + half);
      wait_barrier(base + Memory::empty + 8 * (2 * at + half), parities >> at & 1 ^ 1);
      parities ^= 1 << at;
      if (lane == 0) {
        arrive_expecting(barrier, panels * Memory::panel_bytes);
        for (int panel = first_panel + rank; panel < first_panel + panels; panel += step) {
          const uint32_t to =
              base + Memory::keys + at * Memory::all_bytes + panel * Memory::panel_bytes;
          if constexpr (kShared) {
            copy_box_to(to, cache_map, barrier, 64 * panel, y, 3);
          } else {
            copy_box(to, cache_map, barrier, 64 * panel, y);
          }
        }
      }
      __syncwarp();
    }
  }
  if (half == 1) return;
  wait_barrier(base + Memory::rotated_empty, q_parity ^ 1);
  if (lane == 0) {
    shared_item->splits = 0;  // there are no more
    arrive(base + Memory::q_full);
    arrive(base + Memory::q_full);
  }
}

/// Combines the splits of a row, for sequences that have several: a warp a row.
__global__ void __launch_bounds__(128) attention_decode_combine(AttentionDecodeTiles args) {
  constexpr int split_keys = decode_split_tiles * decode_keys;
  const int rows = args.tokens * args.heads, lane = threadIdx.x % 32;
  const int row = blockIdx.x * 4 + threadIdx.x / 32, sequence = blockIdx.y;
  if (row >= rows) return;
  const int splits = (__ldg(args.lengths + sequence) + split_keys - 1) / split_keys;
  if (splits < 2) return;
  const float* log_sums = args.part_log_sums + int64_t{sequence} * args.most_splits * rows + row;
  const float4* parts = reinterpret_cast<const float4*>(
      args.parts + (int64_t{sequence} * args.most_splits * rows + row) * 512);
  float most = -INFINITY;
  for (int i = 0; i < splits; ++i) most = fmaxf(most, __ldg(log_sums + int64_t{i} * rows));
  float sum = 0;
  float4 o[4] = {};
  for (int i = 0; i < splits; ++i) {
    const float weight = exp2_approximate(__fadd_rn(__ldg(log_sums + int64_t{i} * rows), -most));
    sum = __fadd_rn(sum, weight);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float4 part = __ldg(parts + int64_t{i} * rows * 128 + 32 * k + lane);
      o[k].x = __fmaf_rn(weight, part.x, o[k].x);
      o[k].y = __fmaf_rn(weight, part.y, o[k].y);
      o[k].z = __fmaf_rn(weight, part.z, o[k].z);
      o[k].w = __fmaf_rn(weight, part.w, o[k].w);
    }
  }
  const float inverse = __frcp_rn(sum);
  const int64_t out = int64_t{sequence} * rows + row;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint2 four =
        make_uint2(bf16_pair(__fmul_rn(o[k].x, inverse), __fmul_rn(o[k].y, inverse)),
                   bf16_pair(__fmul_rn(o[k].z, inverse), __fmul_rn(o[k].w, inverse)));
    reinterpret_cast<uint2*>(args.o + out * 512)[32 * k + lane] = four;
  }
  if (lane == 0) args.log_sums[out] = __fmul_rn(__fadd_rn(most, __log2f(sum)), ln_2);
}

}  // namespace troupe::kernels::cuda
