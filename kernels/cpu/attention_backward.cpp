#if !defined(TROUPE_ISA_PASS)

#include <memory>
#include <string>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/ops/attention.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/attention_backward.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

int64_t divided(const char* what, int64_t n, int64_t by) {
  if (by > 0 && n % by == 0) return n / by;
  throw KernelError(std::string("attention_backward: ") + what + ": " + std::to_string(by) +
                    " does not divide " + std::to_string(n));
}

void check(const AttentionBackwardArgs& args) {
  const int64_t T = args.q.rows(), H = args.heads, H_kv = args.key_heads;
  divided("sequence_rows", T, args.sequence_rows);
  const int64_t dqk = divided("heads and the columns of q", args.q.cols(), H);
  const int64_t dv = divided("heads and the columns of o", args.o.cols(), H);
  if (H_kv < 1 || H % H_kv != 0) {
    throw KernelError("attention_backward: key_heads " + std::to_string(H_kv) +
                      ", wanted a divisor of " + std::to_string(H));
  }
  expect_shape("attention_backward q", args.q, DType::f32, {T, H * dqk});
  expect_shape("attention_backward k", args.k, DType::f32, {T, H_kv * dqk});
  expect_shape("attention_backward v", args.v, DType::f32, {T, H_kv * dv});
  expect_shape("attention_backward o", args.o, DType::f32, {T, H * dv});
  expect_shape("attention_backward do", args.do_, DType::f32, {T, H * dv});
  expect_shape("attention_backward log_sums", args.log_sums, DType::f32, {T, H});
  expect_shape("attention_backward dq", args.dq, DType::f32, {T, H * dqk});
  expect_shape("attention_backward dk", args.dk, DType::f32, {T, H_kv * dqk});
  expect_shape("attention_backward dv", args.dv, DType::f32, {T, H_kv * dv});
}

}  // namespace

void attention_backward(Queue& queue, const AttentionBackwardArgs& args) {
  const OperatorLabel label("attention_backward");
  check(args);
  if (queue.is_cuda()) return cuda::attention_backward(queue, args);
  const int64_t S = args.sequence_rows, H = args.heads;
  const int64_t sequences = args.q.rows() / S, tiles = (S + 63) / 64;
  const int64_t head_cost = S * S * (args.q.cols() + args.o.cols()) / H / 8;
  const int64_t pairs = sequences * H, pair_parts = part_count(queue, pairs, head_cost);
  if (args.key_heads == H) {
  queue.run(pair_parts, [args, pairs, pair_parts](int64_t part) {
      const auto [begin, end] = part_range(pairs, pair_parts, part);
      TROUPE_ISA_CALL(attention_backward_heads)(args, begin, end, true);
    });
    return;
  }
  // A key of several heads: its gradient is a chain through all of them, so its parts own tiles of
  // keys, those of dq own heads, and probabilities are computed twice.
  const int64_t items = sequences * args.key_heads * tiles;
  const int64_t parts = part_count(queue, items, head_cost * (H / args.key_heads) / tiles);
  queue.run(parts, [args, items, parts](int64_t part) {
    const auto [begin, end] = part_range(items, parts, part);
    TROUPE_ISA_CALL(attention_backward_shared_keys)(args, begin, end);
  });
  queue.run(pair_parts, [args, pairs, pair_parts](int64_t part) {
    const auto [begin, end] = part_range(pairs, pair_parts, part);
    TROUPE_ISA_CALL(attention_backward_heads)(args, begin, end, false);
  });
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/attention/attention_tiles.inl"

/// Which gradients a pass over a tile makes.
struct AttentionGradients {
  bool of_queries;
  bool of_keys;
};

/// A matrix of one head of one sequence: row r at data[r * stride].
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;
  T* operator[](int64_t row) const { return data + row * stride; }
};

/// One head of one sequence: S rows, widths dqk and dv.
struct AttentionHead {
  AttentionHead(const AttentionBackwardArgs& args, int64_t sequence, int64_t head)
      : S(args.sequence_rows),
        dqk(args.q.cols() / args.heads),
        dv(args.o.cols() / args.heads),
        scale(args.scale) {
    const int64_t first = sequence * S, key_head = head / (args.heads / args.key_heads);
    const auto in = [first](const ConstTensor& t, int64_t column) {
      return HeadRows<const float>{values<float>(t) + first * t.row_stride + column, t.row_stride};
    };
    const auto out = [first](const Tensor& t, int64_t column) {
      return HeadRows<float>{values<float>(t) + first * t.row_stride + column, t.row_stride};
    };
    q = in(args.q, head * dqk);
    k = in(args.k, key_head * dqk);
    v = in(args.v, key_head * dv);
    o = in(args.o, head * dv);
    o_gradient = in(args.do_, head * dv);
    log_sums = in(args.log_sums, head);
    q_gradient = out(args.dq, head * dqk);
    k_gradient = out(args.dk, key_head * dqk);
    v_gradient = out(args.dv, key_head * dv);
  }

  int64_t S, dqk, dv;
  float scale;
  HeadRows<const float> q, k, v, o, o_gradient, log_sums;
  HeadRows<float> q_gradient, k_gradient, v_gradient;
};

/// What a part works in. Rows of the 64 x 64 blocks are queries, columns are keys.
struct AttentionBackwardScratch {
  explicit AttentionBackwardScratch(const AttentionBackwardArgs& args)
      : dqk(args.q.cols() / args.heads),
        dv(args.o.cols() / args.heads),
        memory(allocate_f32({64 * (dqk + dv + stride + stride) + args.sequence_rows + 15})),
        turned_keys(static_cast<float*>(memory.view.data)),
        turned_values(turned_keys + 64 * dqk),
        probabilities(turned_values + 64 * dv),
        score_gradients(probabilities + 64 * stride),
        deltas(score_gradients + 64 * stride) {}

  static constexpr int64_t stride = 64 + 16;  // rows fall into different cache sets
  int64_t dqk, dv;
  Buffer memory;
  float* turned_keys;      // [dqk, 64]
  float* turned_values;    // [dv, 64]
  float* probabilities;    // [64, stride]: p = exp(scale * q . k - log_sum)
  float* score_gradients;  // [64, stride]: p * (do . v - delta) * scale
  float* deltas;           // [S]: do . o
};

inline void zero_rows(const HeadRows<float>& rows, int64_t begin, int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; ++r) std::fill_n(rows[r], width, 0.0f);
}

/// deltas[r] = do_r . o_r from row `first`, a multiple of 16, on: as dot has it, 16 rows at once.
inline void find_deltas(const AttentionHead& h, int64_t first, float* deltas) {
  for (int64_t r = first; r < h.S; r += 16) {
    alignas(64) float lanes[16 * 16] = {};
    for (int64_t i = r; i < std::min(h.S, r + 16); ++i) {
      F16 sum = zero();
      for_lanes(h.dv, [&](int64_t d, int n) {
        sum = fma(load_lanes(h.o_gradient[i] + d, n), load_lanes(h.o[i] + d, n), sum);
      });
      store(lanes + (i - r) * 16, sum);
    }
    store(deltas + r, join_lanes(lanes, [](F16 a, F16 b) { return a + b; }));
  }
}

/// Probabilities and score gradients of queries [i, i + queries) and keys [j, j + keys). What lies
/// behind a row's own position is left undefined: nobody reads it.
inline void backward_block(const AttentionHead& h, AttentionBackwardScratch& scratch, int64_t i,
                           int64_t queries, int64_t j, int64_t keys) {
  constexpr int64_t stride = AttentionBackwardScratch::stride;
  const auto seen = [&](int64_t r) { return std::min(keys, i + r + 1 - j); };
  attention_stairs_product({.a = h.q[i],
                            .a_row = h.q.stride,
                            .a_depth = 1,
                            .b = scratch.turned_keys,
                            .b_row = 64,
                            .c = scratch.probabilities,
                            .c_row = stride,
                            .add = false},
                           queries, {0, h.dqk}, seen);
  attention_stairs_product({.a = h.o_gradient[i],
                            .a_row = h.o_gradient.stride,
                            .a_depth = 1,
                            .b = scratch.turned_values,
                            .b_row = 64,
                            .c = scratch.score_gradients,
                            .c_row = stride,
                            .add = false},
                           queries, {0, h.dv}, seen);
  const F16 scale = set1(h.scale);
  for (int64_t r = 0; r < queries; ++r) {
    const F16 log_sum = set1(*h.log_sums[i + r]), delta = set1(scratch.deltas[i + r]);
    float* p_row = scratch.probabilities + r * stride;
    float* ds_row = scratch.score_gradients + r * stride;
    for (int64_t c = 0; c < seen(r); c += 16) {
      const F16 p = exp(load(p_row + c) * scale - log_sum);
      store(p_row + c, p);
      store(ds_row + c, p * (load(ds_row + c) - delta) * scale);
    }
  }
}

/// What the keys of tile [j, j + keys) of one head add to the gradients. dq's chains go over keys
/// ascending when tiles are visited ascending, from zeroed rows on.
inline void backward_tile(const AttentionHead& h, AttentionBackwardScratch& scratch, int64_t j,
                          AttentionGradients wanted) {
  constexpr int64_t stride = AttentionBackwardScratch::stride;
  const int64_t keys = std::min<int64_t>(64, h.S - j);
  const float *k_rows[64], *v_rows[64];
  for (int64_t c = 0; c < keys; ++c) {
    k_rows[c] = h.k[j + c];
    v_rows[c] = h.v[j + c];
  }
  turn_rows(k_rows, keys, h.dqk, scratch.turned_keys);
  turn_rows(v_rows, keys, h.dv, scratch.turned_values);
  for (int64_t i = j; i < h.S; i += 64) {
    const int64_t queries = std::min<int64_t>(64, h.S - i);
    backward_block(h, scratch, i, queries, j, keys);
    const auto seen_by = [&](int64_t c) {  // the queries from key j + c's own position on
      return Range{std::clamp<int64_t>(j + c - i, 0, queries), queries};
    };
    const auto seen = [&](int64_t r) {  // the keys up to query i + r's own position
      return Range{0, std::clamp<int64_t>(i + r + 1 - j, 0, keys)};
    };
    if (wanted.of_keys) {
      attention_ragged_product({.a = scratch.probabilities,
                                .a_row = 1,
                                .a_depth = stride,
                                .b = h.o_gradient[i],
                                .b_row = h.o_gradient.stride,
                                .c = h.v_gradient[j],
                                .c_row = h.v_gradient.stride,
                                .add = true},
                               keys, h.dv, seen_by);
      attention_ragged_product({.a = scratch.score_gradients,
                                .a_row = 1,
                                .a_depth = stride,
                                .b = h.q[i],
                                .b_row = h.q.stride,
                                .c = h.k_gradient[j],
                                .c_row = h.k_gradient.stride,
                                .add = true},
                               keys, h.dqk, seen_by);
    }
    if (wanted.of_queries) {
      attention_ragged_product({.a = scratch.score_gradients,
                                .a_row = stride,
                                .a_depth = 1,
                                .b = h.k[j],
                                .b_row = h.k.stride,
                                .c = h.q_gradient[i],
                                .c_row = h.q_gradient.stride,
                                .add = true},
                               queries, h.dqk, seen);
    }
  }
}

/// Pairs of (sequence, head): dq, and with `keys_too` dk and dv of the head's own keys.
inline void attention_backward_heads(const AttentionBackwardArgs& args, int64_t begin, int64_t end,
                                     bool keys_too) {
  AttentionBackwardScratch scratch(args);
  for (int64_t pair = begin; pair < end; ++pair) {
    const AttentionHead h(args, pair / args.heads, pair % args.heads);
    find_deltas(h, 0, scratch.deltas);
    zero_rows(h.q_gradient, 0, h.S, h.dqk);
    if (keys_too) {
      zero_rows(h.k_gradient, 0, h.S, h.dqk);
      zero_rows(h.v_gradient, 0, h.S, h.dv);
    }
    for (int64_t j = 0; j < h.S; j += 64) {
      backward_tile(h, scratch, j, {.of_queries = true, .of_keys = keys_too});
    }
  }
}

/// Triples of (sequence, key head, tile of keys): dk and dv of keys that several heads share.
inline void attention_backward_shared_keys(const AttentionBackwardArgs& args, int64_t begin,
                                           int64_t end) {
  const int64_t tiles = (args.sequence_rows + 63) / 64, together = args.heads / args.key_heads;
  AttentionBackwardScratch scratch(args);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t j = item % tiles * 64, key = item / tiles;  // key heads of all sequences
    const int64_t sequence = key / args.key_heads, first = key % args.key_heads * together;
    for (int64_t head = first; head < first + together; ++head) {
      const AttentionHead h(args, sequence, head);
      if (head == first) {
        const int64_t last = std::min(h.S, j + 64);
        zero_rows(h.k_gradient, j, last, h.dqk);
        zero_rows(h.v_gradient, j, last, h.dv);
      }
      find_deltas(h, j, scratch.deltas);
      backward_tile(h, scratch, j, {.of_queries = false, .of_keys = true});
    }
  }
}

#endif
