// Attention's backward, without sums that wait for one another: a block takes 128 keys of a head
// and goes down the queries, 64 at a time. Two warpgroups of 64 keys each make probabilities and
// gradients of scores with keys as rows, so that they stay in registers for the products that add
// to dv and dk; the gradients of scores also go to memory, as the squares that the products of dq
// (below) read: these add over keys in one accumulator.
#pragma once

#include "kernels/cuda/attention/attention_items.cuh"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/tma.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace troupe::kernels::cuda {

constexpr int backward_keys = 128;     ///< of an item that makes dk and dv
constexpr int backward_queries = 256;  ///< of an item that makes dq

/// A square is 128 keys by 64 queries of bfloat16 as tensor cores read it: two halves of 64 keys,
/// rows of 128 bytes, swizzled.
constexpr int square_bytes = 128 * 64 * 2;

/// A queries' tile of a head's statistics: 64 times log2 e * log_sum, 64 times do . o. Rows behind
/// the sequence's end have infinity and 0, which makes their probabilities 0.
constexpr int statistics_bytes = 2 * 64 * 4;

/// First tile of a sequence's statistics: 64 rows each, and none has rows of two sequences.
__host__ __device__ inline int64_t statistics_tile(int64_t first_row, int64_t sequence) {
  return first_row / 64 + sequence;
}

struct AttentionBackwardTiles {
  AttentionItems items;
  int q_head_stride, k_head_stride, k_rope_head_stride, v_head_stride, do_head_stride;
  float scale_log2;
  float scale;
  const float* statistics;  ///< [H, statistics_tiles, 2, 64]
  int64_t statistics_tiles;
  uint8_t* squares;  ///< [heads of items, head_squares] squares
  int64_t head_squares;
  HeadRowsOut dq, dk, dk_rope, dv;
};

struct AttentionBackwardMemory {
  static constexpr int stages = 3;
  static constexpr int key_panel_bytes = 128 * 128, query_panel_bytes = 64 * 128;
  static constexpr int k = 0, v = 3 * key_panel_bytes;
  static constexpr int keys_bytes = 5 * key_panel_bytes;
  static constexpr int queries = keys_bytes;
  static constexpr int q_bytes = 3 * query_panel_bytes, queries_bytes = 5 * query_panel_bytes;
  static constexpr int statistics = queries + stages * queries_bytes;
  static constexpr int keys_full = statistics + stages * statistics_bytes;
  static constexpr int full = keys_full + 8, empty = full + 8 * stages;
  static constexpr int bytes = empty + 8 * stages;
};

/// Writes 64 keys by 64 queries of one warpgroup as half of a square.
__device__ inline void store_square(const uint32_t (&ds)[16], uint8_t* half) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = 16 * warp + lane / 4 + 8 * h;
#pragma unroll
    for (int first = 0; first < 8; first += 4) {
      uint32_t v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = ds[2 * (first + j) + h];
      transpose_quad(v, lane);
      const int chunk = (first + lane % 4) ^ (row % 8);
      *reinterpret_cast<uint4*>(half + row * 128 + chunk * 16) = make_uint4(v[0], v[1], v[2], v[3]);
    }
  }
}

/// d = 64 keys times 64 queries, over 64 columns a panel of both.
template <int kPanels>
__device__ inline void products_of_keys(float (&d)[32], uint64_t keys, uint64_t queries) {
  using Memory = AttentionBackwardMemory;
  ProductBf16<64, false, false>::set(d, keys, queries);
#pragma unroll
  for (int step = 1; step < 4 * kPanels; ++step) {
    ProductBf16<64, false, false>::add(
        d, keys + step / 4 * (Memory::key_panel_bytes / 16) + step % 4 * 2,
        queries + step / 4 * (Memory::query_panel_bytes / 16) + step % 4 * 2, true);
  }
}

/// Which pairs of the thread's first key and first query, and of those 8 j and 8 h on, are seen.
/// Behind the sequence's end nobody reads what comes of them.
struct SeenKeys {
  int key, query;
  __device__ bool operator()(int j, int h, int i) const { return key + 8 * h <= query + 8 * j + i; }
};

/// Probabilities of scores as pairs for products.
template <bool kMasked>
__device__ inline void probabilities(const float (&s)[32], uint32_t log_sums, float scale_log2,
                                     SeenKeys seen, uint32_t (&p)[16]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 log_sum = load_shared_pair(log_sums + 32 * j);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int i = 4 * j + 2 * h;
      const float p0 = exp2_approximate(__fmaf_rn(s[i], scale_log2, -log_sum.x));
      const float p1 = exp2_approximate(__fmaf_rn(s[i + 1], scale_log2, -log_sum.y));
      p[2 * j + h] =
          kMasked ? bf16_pair(seen(j, h, 0) ? p0 : 0, seen(j, h, 1) ? p1 : 0) : bf16_pair(p0, p1);
    }
  }
}

/// Gradients of scores, without the scale: p (dp - delta), p as it was rounded.
template <bool kMasked>
__device__ inline void gradients_of_scores(const float (&dp)[32], const uint32_t (&p)[16],
                                           uint32_t deltas, SeenKeys seen, uint32_t (&ds)[16]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 delta = load_shared_pair(deltas + 32 * j);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int i = 4 * j + 2 * h;
      const float ds0 = __fmul_rn(__uint_as_float(p[2 * j + h] << 16), __fadd_rn(dp[i], -delta.x));
      const float ds1 =
          __fmul_rn(__uint_as_float(p[2 * j + h] & 0xffff0000u), __fadd_rn(dp[i + 1], -delta.y));
      ds[2 * j + h] = kMasked ? bf16_pair(seen(j, h, 0) ? ds0 : 0, seen(j, h, 1) ? ds1 : 0)
                              : bf16_pair(ds0, ds1);
    }
  }
}

__global__ void __launch_bounds__(384, 1) attention_backward_keys(
    const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap do_map,
    const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap k_rope_map,
    const __grid_constant__ CUtensorMap v_map, const AttentionBackwardTiles args) {
  using Memory = AttentionBackwardMemory;
  constexpr int stages = Memory::stages;
  extern __shared__ __align__(1024) uint8_t memory[];
  AttentionItem item;
  if (!find_item(args.items, blockIdx.x, item)) return;
  const uint32_t base = shared_address(memory);
  if (threadIdx.x == 0) {
    init_barrier(base + Memory::keys_full, 1);
    for (int stage = 0; stage < stages; ++stage) {
      init_barrier(base + Memory::full + 8 * stage, 1);
      init_barrier(base + Memory::empty + 8 * stage, 256);
    }
    publish_barriers();
  }
  __syncthreads();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int key_row = item.tile * 128, query_tiles = (item.rows + 63) / 64;
  RingPlace place;

  if (warp >= 8) {
    release_registers<24>();
    if (warp == 8 && lane == 0) {
      const uint32_t keys_full = base + Memory::keys_full;
      arrive_expecting(keys_full, Memory::keys_bytes);
      for (int panel = 0; panel < 5; ++panel) {
        const uint32_t to = base + panel * Memory::key_panel_bytes;
        const int y = item.first + key_row;
        if (panel < 2) {
          copy_box(to, &k_map, keys_full, item.head * args.k_head_stride + 64 * panel, y);
        } else if (panel == 2) {
          copy_box(to, &k_rope_map, keys_full, item.head * args.k_rope_head_stride, y);
        } else {
          copy_box(to, &v_map, keys_full, item.head * args.v_head_stride + 64 * (panel - 3), y);
        }
      }
      const float* statistics =
          args.statistics +
          (item.head * args.statistics_tiles + statistics_tile(item.first, item.sequence)) * 128;
      for (int m = 2 * item.tile; m < query_tiles; ++m) {
        const uint32_t barrier = base + Memory::full + 8 * place.stage;
        const uint32_t to = base + Memory::queries + place.stage * Memory::queries_bytes;
        wait_barrier(base + Memory::empty + 8 * place.stage, place.parity ^ 1);
        arrive_expecting(barrier, Memory::queries_bytes + statistics_bytes);
        const int y = item.first + 64 * m;
#pragma unroll
        for (int panel = 0; panel < 3; ++panel) {
          copy_box(to + panel * Memory::query_panel_bytes, &q_map, barrier,
                   item.head * args.q_head_stride + 64 * panel, y);
        }
#pragma unroll
        for (int panel = 0; panel < 2; ++panel) {
          copy_box(to + Memory::q_bytes + panel * Memory::query_panel_bytes, &do_map, barrier,
                   item.head * args.do_head_stride + 64 * panel, y);
        }
        copy_bytes(base + Memory::statistics + place.stage * statistics_bytes, statistics + 128 * m,
                   statistics_bytes, barrier);
        place.advance(stages);
      }
    }
  } else {
    take_registers<240>();
    const int warpgroup = warp / 4;
    const int key = key_row + 64 * warpgroup + 16 * (warp % 4) + lane / 4;
    const uint64_t k = inner_tile(base + Memory::k + warpgroup * 64 * 128);
    const uint64_t v = inner_tile(base + Memory::v + warpgroup * 64 * 128);
    const int head = item.head - args.items.first_head;
    uint8_t* square = args.squares +
                      (head * args.head_squares + item.squares +
                       gradient_square(item.rows, item.tile, 2 * item.tile)) *
                          square_bytes +
                      warpgroup * (square_bytes / 2);
    float dk[96], dv[64];
#pragma unroll
    for (int i = 0; i < 96; ++i) dk[i] = 0;
#pragma unroll
    for (int i = 0; i < 64; ++i) dv[i] = 0;
    wait_barrier(base + Memory::keys_full, 0);

    const auto step = [&](int m, auto masked) {
      constexpr bool is_masked = decltype(masked)::value;
      wait_barrier(base + Memory::full + 8 * place.stage, place.parity);
      const uint32_t queries = base + Memory::queries + place.stage * Memory::queries_bytes;
      const uint32_t statistics =
          base + Memory::statistics + place.stage * statistics_bytes + 8 * (lane % 4);
      if (64 * m + 64 > item.rows) {
        zero_rows(queries, 5, Memory::query_panel_bytes, item.rows - 64 * m, 64, threadIdx.x, 256);
        meet_threads(1, 256);
      }
      const SeenKeys seen{key, 64 * m + 2 * (lane % 4)};
      float s[32], dp[32];
      uint32_t p[16], ds[16];
      begin_products();
      products_of_keys<3>(s, k, inner_tile(queries));
      commit_products();
      wait_products<0>();
      pin(s);
      probabilities<is_masked>(s, statistics, args.scale_log2, seen, p);
      pin(dv);
      begin_products();
      products_of_keys<2>(dp, v, inner_tile(queries + Memory::q_bytes));
      commit_products();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        ProductBf16OfRegisters<128, true>::add(
            dv, p + 4 * step,
            outer_tile(queries + Memory::q_bytes, Memory::query_panel_bytes) + 128 * step, true);
      }
      commit_products();
      wait_products<1>();
      pin(dp);
      gradients_of_scores<is_masked>(dp, p, statistics + 256, seen, ds);
      pin(dk);
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        ProductBf16OfRegisters<192, true>::add(
            dk, ds + 4 * step, outer_tile(queries, Memory::query_panel_bytes) + 128 * step, true);
      }
      commit_products();
      store_square(ds, square);
      square += square_bytes;
      wait_products<0>();
      pin(dv);
      pin(dk);
      arrive(base + Memory::empty + 8 * place.stage);  // every lane: each has read the statistics
      place.advance(stages);
    };
    int m = 2 * item.tile;
    for (; m < min(2 * item.tile + 2, query_tiles); ++m) step(m, std::true_type{});
    for (; m < query_tiles; ++m) step(m, std::false_type{});

    const int row = item.first + key_row + 64 * warpgroup, row_end = item.first + item.rows;
    const auto store = [&](auto& sums, const HeadRowsOut& to) {
      constexpr int columns = sizeof sums / sizeof(float) * 2;
      store_bf16<columns>(sums, reinterpret_cast<__nv_bfloat16*>(to.data), row, row_end,
                          static_cast<int>(item.head * to.head_stride),
                          static_cast<int>(to.row_stride));
    };
    store(dv, args.dv);
    float part[64], rope[32];
#pragma unroll
    for (int i = 0; i < 64; ++i) part[i] = __fmul_rn(dk[i], args.scale);
#pragma unroll
    for (int i = 0; i < 32; ++i) rope[i] = __fmul_rn(dk[64 + i], args.scale);
    store(part, args.dk);
    store(rope, args.dk_rope);
  }
}

}  // namespace troupe::kernels::cuda
