#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/attention.h"

#include <utility>

#include "kernels/buffer.h"
#include "kernels/cpu/attention/attention_plan.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/attention.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

void attention(Queue& queue, const AttentionArgs& args) {
  const OperatorLabel label("attention");
  const auto plan = plan_attention(args, queue.device());
  const int64_t blocks = static_cast<int64_t>(plan->blocks.size());
  const int64_t cost =
      plan->most_rows * plan->most_keys * (plan->query_width + plan->value_width) / 16;
  if (queue.is_cuda()) return cuda::attention(queue, args);
  const int64_t parts = part_count(queue, blocks, cost);
  queue.run(parts, [plan, blocks, parts](int64_t part) {
    const auto [begin, end] = part_range(blocks, parts, part);
    TROUPE_ISA_CALL(attention_blocks)(*plan, begin, end);
  });
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/attention/attention_tiles.inl"

/// What a part works in; each row of a matrix is 64-byte aligned.
struct AttentionScratch {
  explicit AttentionScratch(const AttentionPlan& plan)
      : key_stride(whole_vectors(plan.most_keys) + 16),  // rows fall into different cache sets
        value_stride(whole_vectors(plan.value_width)),
        memory(allocate_f32({plan.most_rows * (plan.query_width + key_stride + value_stride + 2) +
                             64 * (plan.query_width + value_stride) + 128})) {
    float* at = static_cast<float*>(memory.view.data);
    const auto take = [&](int64_t count) { return std::exchange(at, at + whole_vectors(count)); };
    turned_keys = take(plan.query_width * 64);
    copied_values = take(64 * value_stride);
    scores = take(plan.most_rows * key_stride);
    out = take(plan.most_rows * value_stride);
    q = take(plan.most_rows * plan.query_width);
    sums = take(plan.most_rows);
    log_sums = take(plan.most_rows);
  }

  int64_t key_stride;
  int64_t value_stride;
  Buffer memory;
  float* turned_keys;    // [dqk, 64]
  float* copied_values;  // [64, value_stride]
  float* scores;         // [rows, key_stride]
  float* out;            // [rows, value_stride]
  float* q;              // [rows, dqk]
  float* sums;           // [rows]
  float* log_sums;       // [rows]
};

/// Where the positions first .. first + count - 1 of a head lie.
inline void find_rows(const KeyPages& keys, int64_t first, int64_t count, int64_t column,
                      const float** rows) {
  int64_t page = first / keys.page_rows, row = first % keys.page_rows;
  for (int64_t i = 0; i < count; ++i) {
    const ConstTensor& t = keys.pages[static_cast<size_t>(page)];
    rows[i] = values<float>(t) + row * t.row_stride + column;
    if (++row == keys.page_rows) ++page, row = 0;
  }
}

/// scores[r][p] = q_r . k_p for the positions that row r sees, and some behind: nobody reads those.
inline void block_scores(const AttentionPlan& plan, const AttentionBlock& block, int64_t keys,
                         AttentionScratch& scratch) {
  const AttentionArgs& args = plan.args;
  const int64_t dqk = plan.query_width;
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = block.sequence->query_row + plan.query_of(block, r);
    const float* q = values<float>(args.q) + row * args.q.row_stride;
    copy_row(q + plan.head_of(block, r) * dqk, dqk, scratch.q + r * dqk);
  }
  for (int64_t first = 0; first < keys; first += 64) {
    const int64_t count = std::min<int64_t>(64, keys - first);
    const float* rows[64];
    find_rows(block.sequence->keys, first, count, block.key_head * dqk, rows);
    turn_rows(rows, count, dqk, scratch.turned_keys);
    int64_t r = 0;  // the first row that sees this tile
    while (plan.keys_of(block, r) <= first) ++r;
    attention_stairs_product({.a = scratch.q + r * dqk,
                              .a_row = dqk,
                              .a_depth = 1,
                              .b = scratch.turned_keys,
                              .b_row = 64,
                              .c = scratch.scores + r * scratch.key_stride + first,
                              .c_row = scratch.key_stride,
                              .add = false},
                             block.rows - r, {0, dqk}, [&](int64_t i) {
                               return std::min(count, plan.keys_of(block, r + i) - first);
                             });
  }
}

/// Scores to exp(scale * score - max) over each row's own keys, and the sums of these to
/// scratch.sums. Rows go by 16, so that lanes are joined for 16 rows at once.
inline void block_softmax(const AttentionPlan& plan, const AttentionBlock& block,
                          AttentionScratch& scratch) {
  alignas(64) static constexpr float lane_numbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                         8, 9, 10, 11, 12, 13, 14, 15};
  const F16 lane = load(lane_numbers), scale = set1(plan.args.scale);
  const F16 none = set1(-std::numeric_limits<float>::infinity());
  for (int64_t first = 0; first < block.rows; first += 16) {
    const int64_t rows = std::min<int64_t>(16, block.rows - first);
    alignas(64) float lanes[16 * 16] = {}, tops[16];
    for (int64_t i = 0; i < rows; ++i) {
      const float* scores = scratch.scores + (first + i) * scratch.key_stride;
      F16 greatest = none;
      for_lanes(plan.keys_of(block, first + i), [&](int64_t p, int n) {
        F16 s = load(scores + p) * scale;
        if (n < 16) s = select_less(lane, set1(static_cast<float>(n)), s, none);
        greatest = greater_of(s, greatest);  // a NaN does not win, but stays in its score
      });
      store(lanes + i * 16, greatest);
    }
    const F16 top = join_lanes(lanes, [](F16 a, F16 b) { return greater_of(a, b); });
    store(tops, top);
    for (int64_t i = 0; i < rows; ++i) {
      float* scores = scratch.scores + (first + i) * scratch.key_stride;
      F16 sum = zero();  // lane = position mod 16
      for_lanes(plan.keys_of(block, first + i), [&](int64_t p, int n) {
        F16 e = exp(load(scores + p) * scale - set1(tops[i]));
        if (n < 16) e = select_less(lane, set1(static_cast<float>(n)), e, zero());
        store(scores + p, e);
        sum = sum + e;
      });
      store(lanes + i * 16, sum);
    }
    const F16 sums = join_lanes(lanes, [](F16 a, F16 b) { return a + b; });
    store(scratch.sums + first, sums);
    store(scratch.log_sums + first, top + attention_log(sums));
  }
}

/// out[r] = sum_p probability[r][p] * v_p over the row's own keys.
inline void block_values(const AttentionPlan& plan, const AttentionBlock& block, int64_t keys,
                         AttentionScratch& scratch) {
  const int64_t dv = plan.value_width;
  std::fill_n(scratch.out, block.rows * scratch.value_stride, 0.0f);
  for (int64_t first = 0; first < keys; first += 64) {
    const int64_t count = std::min<int64_t>(64, keys - first);
    const float* rows[64];
    find_rows(block.sequence->values, first, count, block.key_head * dv, rows);
    for (int64_t i = 0; i < count; ++i) {
      copy_row(rows[i], dv, scratch.copied_values + i * scratch.value_stride);
    }
    attention_ragged_product(
        {.a = scratch.scores + first,
         .a_row = scratch.key_stride,
         .a_depth = 1,
         .b = scratch.copied_values,
         .b_row = scratch.value_stride,
         .c = scratch.out,
         .c_row = scratch.value_stride,
         .add = true},
        block.rows, dv, [&](int64_t r) {
          return Range{0, std::clamp<int64_t>(plan.keys_of(block, r) - first, 0, count)};
        });
  }
}

inline void attention_blocks(const AttentionPlan& plan, int64_t begin, int64_t end) {
  const AttentionArgs& args = plan.args;
  const int64_t dv = plan.value_width;
  AttentionScratch scratch(plan);
  for (int64_t b = begin; b < end; ++b) {
    const AttentionBlock& block = plan.blocks[static_cast<size_t>(b)];
    const int64_t keys = plan.keys_of(block, block.rows - 1);
    block_scores(plan, block, keys, scratch);
    block_softmax(plan, block, scratch);
    block_values(plan, block, keys, scratch);
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t t = block.sequence->query_row + plan.query_of(block, r);
      const int64_t head = plan.head_of(block, r);
      float* o = values<float>(args.o) + t * args.o.row_stride + head * dv;
      const float* out = scratch.out + r * scratch.value_stride;
      for_lanes(dv, [&](int64_t i, int n) {
        store_lanes(o + i, load(out + i) / set1(scratch.sums[r]), n);
      });
      if (args.log_sums.data == nullptr) continue;
      values<float>(args.log_sums)[t * args.log_sums.row_stride + head] = scratch.log_sums[r];
    }
  }
}

#endif
