#include <cmath>
#include <string>

#include "kernels/cuda/attention/attention_backward_queries.cuh"
#include "kernels/cuda/attention/attention_launch.h"
#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/cuda/sm90/launch_sm90.h"

namespace troupe::kernels::cuda {

namespace {

constexpr int statistics_heads = 16;  // of a block, a half-warp each

struct StatisticsArgs {
  const int32_t* offsets;
  int longest, sequences, heads;
  HeadRows o, do_;
  const float* log_sums;  ///< [H, T]
  int64_t total;
  float* statistics;  ///< [H, tiles, 2, 64]
  int64_t tiles;
};

/// A tile of 64 rows, 16 heads: do . o is a chain over 8 columns a lane and a tree over 16 lanes.
__global__ void __launch_bounds__(16 * statistics_heads) attention_statistics(StatisticsArgs args) {
  __shared__ float deltas[statistics_heads][64 + 1];
  const int lane = threadIdx.x % 32, tile = static_cast<int>(blockIdx.x);
  const auto first_of = [&](int s) {
    return args.offsets != nullptr ? __ldg(args.offsets + s) : s * args.longest;
  };
  int sequence = -1;  // the last that begins no later
  for (int base = 0; base < args.sequences; base += 32) {
    const int s = base + lane;
    const bool begins = s < args.sequences && statistics_tile(first_of(s), s) <= tile;
    sequence += __popc(__ballot_sync(~0u, begins));
  }
  const int first = first_of(sequence), end = first_of(sequence + 1);
  const int row = first + 64 * (tile - static_cast<int>(statistics_tile(first, sequence)));
  const int rows = min(64, end - row);  // none or fewer: a tile between sequences
  const int head = blockIdx.y * statistics_heads + threadIdx.x / 16, column = threadIdx.x % 16 * 8;
  for (int r = 0; r < rows; ++r) {
    float sum = 0;
    if (head < args.heads) {
      const auto load = [&](const HeadRows& x) {
        return __ldg(reinterpret_cast<const uint4*>(x.data + (row + r) * x.row_stride +
                                                    head * x.head_stride + column));
      };
      const uint4 o = load(args.o), d = load(args.do_);
      const uint32_t a[4] = {o.x, o.y, o.z, o.w}, b[4] = {d.x, d.y, d.z, d.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sum = __fmaf_rn(__uint_as_float(a[i] << 16), __uint_as_float(b[i] << 16), sum);
        sum = __fmaf_rn(__uint_as_float(a[i] & 0xffff0000u), __uint_as_float(b[i] & 0xffff0000u),
                        sum);
      }
    }
#pragma unroll
    for (int step = 8; step > 0; step /= 2) {
      sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, step));
    }
    if (threadIdx.x % 16 == 0) deltas[threadIdx.x / 16][r] = sum;
  }
  __syncthreads();
  for (int at = threadIdx.x; at < statistics_heads * 64; at += blockDim.x) {
    const int h = blockIdx.y * statistics_heads + at / 64, r = at % 64;
    if (h >= args.heads) break;
    float* const out = args.statistics + (h * args.tiles + tile) * 128;
    out[r] = r < rows ? __fmul_rn(args.log_sums[h * args.total + row + r], log2_e) : INFINITY;
    out[64 + r] = r < rows ? deltas[at / 64][r] : 0;
  }
}

int64_t statistics_tiles(int64_t sequences, const PackedRows& rows) {
  return statistics_tile(rows.total, sequences);
}

int64_t statistics_total_bytes(int64_t heads, int64_t sequences, const PackedRows& rows) {
  return heads * statistics_tiles(sequences, rows) * statistics_bytes;
}

/// Squares of one head at most: (m + 1)^2 / 4 a sequence of m tiles of queries.
int64_t squares_of_head(int64_t sequences, const PackedRows& rows) {
  if (rows.offsets == nullptr) return sequences * gradient_squares(rows.longest);
  return ((rows.longest + 63) / 64 + 1) * (rows.total / 64 + 2 * sequences) / 4 + 1;
}

}  // namespace

int64_t attention_backward_sm90_workspace_bytes(int64_t heads, int64_t sequences,
                                                const PackedRows& rows, int64_t heads_together) {
  return statistics_total_bytes(heads, sequences, rows) +
         std::min(heads, heads_together) * squares_of_head(sequences, rows) * square_bytes;
}

void attention_backward_sm90(const AttentionBackwardSm90Args& args, cudaStream_t stream) {
  const int64_t H = args.heads, T = args.rows.total, sequences = args.sequences;
  if (T == 0 || sequences == 0 || args.rows.longest == 0) return;
  const int64_t statistics = statistics_total_bytes(H, sequences, args.rows);
  const int64_t head_squares = squares_of_head(sequences, args.rows);
  const int64_t together =
      std::min((args.workspace_bytes - statistics) / (head_squares * square_bytes), H);
  if (together < 1) {
    throw KernelError(
        "attention_backward_sm90 workspace has " + std::to_string(args.workspace_bytes) +
        " bytes, wanted at least " +
        std::to_string(attention_backward_sm90_workspace_bytes(H, sequences, args.rows, 1)));
  }
  const CUtensorMap q = head_map("attention_backward_sm90 q", args.q, T, H, 192, 64);
  const CUtensorMap d_o = head_map("attention_backward_sm90 do", args.do_, T, H, 128, 64);
  const CUtensorMap k = head_map("attention_backward_sm90 k", args.k, T, H, 128, 128);
  const CUtensorMap k_rope = head_map("attention_backward_sm90 k_rope", args.k_rope, T, H, 64, 128);
  const CUtensorMap v = head_map("attention_backward_sm90 v", args.v, T, H, 128, 128);
  const CUtensorMap k_half = head_map("attention_backward_sm90 k", args.k, T, H, 128, 64);
  const CUtensorMap k_rope_half =
      head_map("attention_backward_sm90 k_rope", args.k_rope, T, H, 64, 64);
  const StatisticsArgs pre{.offsets = args.rows.offsets,
                           .longest = static_cast<int>(args.rows.longest),
                           .sequences = static_cast<int>(sequences),
                           .heads = static_cast<int>(H),
                           .o = args.o,
                           .do_ = args.do_,
                           .log_sums = args.log_sums,
                           .total = T,
                           .statistics = static_cast<float*>(args.workspace),
                           .tiles = statistics_tiles(sequences, args.rows)};
  launch("attention_backward_sm90 statistics", attention_statistics,
         dim3(static_cast<unsigned>(pre.tiles),
              static_cast<unsigned>((H + statistics_heads - 1) / statistics_heads)),
         16 * statistics_heads, 0, 0, stream, pre);
  AttentionBackwardTiles tiles{.items = {},
                               .q_head_stride = static_cast<int>(args.q.head_stride),
                               .k_head_stride = static_cast<int>(args.k.head_stride),
                               .k_rope_head_stride = static_cast<int>(args.k_rope.head_stride),
                               .v_head_stride = static_cast<int>(args.v.head_stride),
                               .do_head_stride = static_cast<int>(args.do_.head_stride),
                               .scale_log2 = args.scale * log2_e,
                               .scale = args.scale,
                               .statistics = pre.statistics,
                               .statistics_tiles = pre.tiles,
                               .squares = static_cast<uint8_t*>(args.workspace) + statistics,
                               .head_squares = head_squares,
                               .dq = args.dq,
                               .dk = args.dk,
                               .dk_rope = args.dk_rope,
                               .dv = args.dv};
  for (int64_t head = 0; head < H; head += together) {
    const int64_t heads = std::min(together, H - head);
    const auto blocks_of = [&](int tile) {
      tiles.items = attention_items(tile, args.rows, sequences, head, heads, args.rows.longest);
      return dim3(static_cast<unsigned>(heads * (T / tile + sequences)));
    };
    const dim3 key_blocks = blocks_of(backward_keys);
    launch("attention_backward_sm90 keys", attention_backward_keys, key_blocks, 384,
           AttentionBackwardMemory::bytes, 0, stream, q, d_o, k, k_rope, v, tiles);
    const dim3 query_blocks = blocks_of(backward_queries);
    launch("attention_backward_sm90 queries", attention_backward_queries, query_blocks, 384,
           AttentionQueriesMemory::bytes, 0, stream, k_half, k_rope_half, tiles);
  }
}

}  // namespace troupe::kernels::cuda
