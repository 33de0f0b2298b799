#if !defined(TROUPE_ISA_PASS)

#include "kernels/attention.h"

#include <memory>
#include <string>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/scalar_math.h"

namespace troupe::kernels::cpu {

/// Neighbouring rows of one sequence that are computed together. A row is a query of one head:
/// with a key for each head the rows of a block are queries of `head`; with one key for all heads
/// they are all heads of a query, then of the next one.
struct AttentionBlock {
  const AttentionSequence* sequence;
  int64_t head;
  int64_t first_row;
  int64_t rows;
};

struct AttentionPlan {
  AttentionArgs args;
  int64_t query_width;     // dqk
  int64_t value_width;     // dv
  int64_t heads_together;  // heads among the rows of a block: 1, or H if all share a key
  int64_t most_rows = 0;   // in a block
  int64_t most_keys = 0;   // of a block
  std::vector<AttentionBlock> blocks;

  int64_t query_of(const AttentionBlock& block, int64_t row) const {
    return (block.first_row + row) / heads_together;
  }
  int64_t head_of(const AttentionBlock& block, int64_t row) const {
    return block.head + (block.first_row + row) % heads_together;
  }
  /// How many keys the row attends to.
  int64_t keys_of(const AttentionBlock& block, int64_t row) const {
    return block.sequence->first_position + query_of(block, row) + 1;
  }
};

}  // namespace troupe::kernels::cpu

#define TROUPE_ISA_FILE "kernels/cpu/attention.cpp"
#include "kernels/cpu/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

/// A block's scores should stay near the core: at most 4 MiB, for 8 rows at least.
constexpr int64_t most_scores = int64_t{1} << 20;

int64_t width_of_head(const char* what, const ConstTensor& t, int64_t heads) {
  if (heads > 0 && t.cols() > 0 && t.cols() % heads == 0) return t.cols() / heads;
  throw KernelError(std::string(what) + " is " + describe(t) + ", wanted columns for " +
                    std::to_string(heads) + " heads");
}

/// Every row below `rows` must be there.
void expect_pages(const std::string& what, const KeyPages& keys, int64_t rows, int64_t width) {
  const int64_t count = static_cast<int64_t>(keys.pages.size());
  if (keys.page_rows < 1) {
    throw KernelError(what + ": pages of " + std::to_string(keys.page_rows) + " rows");
  }
  if (rows > 0 && (rows - 1) / keys.page_rows >= count) {
    throw KernelError(what + ": " + std::to_string(count) + " pages of " +
                      std::to_string(keys.page_rows) + " rows, wanted " + std::to_string(rows) +
                      " rows");
  }
  for (int64_t i = 0; i < count && i * keys.page_rows < rows; ++i) {
    const ConstTensor& page = keys.pages[static_cast<size_t>(i)];
    const int64_t needed = std::min(keys.page_rows, rows - i * keys.page_rows);
    if (page.dtype != DType::f32 || page.cols() != width || page.rows() < needed ||
        page.device != Device::cpu || page.data == nullptr) {
      throw KernelError(what + ": page " + std::to_string(i) + " is " + describe(page) +
                        ", wanted [" + std::to_string(needed) + " or more, " +
                        std::to_string(width) + "] f32");
    }
  }
}

void check(const AttentionPlan& plan) {
  const AttentionArgs& args = plan.args;
  const int64_t T = args.q.rows(), H = args.heads, H_kv = args.key_heads;
  if (H_kv != H && H_kv != 1) {
    throw KernelError("attention: key_heads " + std::to_string(H_kv) + ", wanted 1 or " +
                      std::to_string(H));
  }
  expect_shape("attention q", args.q, DType::f32, {T, H * plan.query_width});
  expect_shape("attention o", args.o, DType::f32, {T, H * plan.value_width});
  if (args.log_sums.data != nullptr) {
    expect_shape("attention log_sums", args.log_sums, DType::f32, {T, H});
  }
  for (size_t i = 0; i < args.sequences.size(); ++i) {
    const AttentionSequence& s = args.sequences[i];
    const std::string name = "attention sequence " + std::to_string(i);
    if (s.queries < 0 || s.query_row < 0 || s.query_row > T || s.queries > T - s.query_row) {
      throw KernelError(name + " has rows " + std::to_string(s.query_row) + " + " +
                        std::to_string(s.queries) + " of " + std::to_string(T));
    }
    if (s.first_position < 0 || s.first_position > (int64_t{1} << 40)) {
      throw KernelError(name + " begins at position " + std::to_string(s.first_position));
    }
    const int64_t keys = s.queries == 0 ? 0 : s.first_position + s.queries;
    expect_pages(name + " keys", s.keys, keys, H_kv * plan.query_width);
    expect_pages(name + " values", s.values, keys, H_kv * plan.value_width);
  }
}

void cut_into_blocks(AttentionPlan& plan) {
  const int64_t heads = plan.args.heads / plan.heads_together;
  for (const AttentionSequence& s : plan.args.sequences) {
    if (s.queries == 0) continue;
    const int64_t keys = s.first_position + s.queries;
    const int64_t block_rows = std::clamp<int64_t>(most_scores / keys / 8 * 8, 8, 64);
    const int64_t rows = s.queries * plan.heads_together;
    plan.most_keys = std::max(plan.most_keys, keys);
    plan.most_rows = std::max(plan.most_rows, std::min(rows, block_rows));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t row = 0; row < rows; row += block_rows) {
        plan.blocks.push_back({&s, head, row, std::min(block_rows, rows - row)});
      }
    }
  }
}

}  // namespace

void attention(Queue& queue, const AttentionArgs& args) {
  const auto plan = std::make_shared<AttentionPlan>();
  plan->args = args;
  plan->query_width = width_of_head("attention q", args.q, args.heads);
  plan->value_width = width_of_head("attention o", args.o, args.heads);
  plan->heads_together = args.key_heads == args.heads ? 1 : args.heads;
  check(*plan);
  cut_into_blocks(*plan);
  const int64_t blocks = static_cast<int64_t>(plan->blocks.size());
  const int64_t cost =
      plan->most_rows * plan->most_keys * (plan->query_width + plan->value_width) / 16;
  const int64_t parts = part_count(queue, blocks, cost);
  queue.run(parts,
            [plan = std::shared_ptr<const AttentionPlan>(plan), blocks, parts](int64_t part) {
              const auto [begin, end] = part_range(blocks, parts, part);
              TROUPE_ISA_CALL(attention_blocks)(*plan, begin, end);
            });
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/attention_tiles.inl"

/// What a part works in; each row of a matrix is 64-byte aligned.
struct AttentionScratch {
  explicit AttentionScratch(const AttentionPlan& plan)
      : key_stride(whole_vectors(plan.most_keys) + 16),  // rows fall into different cache sets
        value_stride(whole_vectors(plan.value_width)),
        memory(allocate_f32({plan.most_rows * (plan.query_width + key_stride + value_stride + 1) +
                             64 * (plan.query_width + value_stride) + 96})) {
    float* at = static_cast<float*>(memory.view.data);
    const auto take = [&](int64_t count) { return std::exchange(at, at + whole_vectors(count)); };
    turned_keys = take(plan.query_width * 64);
    copied_values = take(64 * value_stride);
    scores = take(plan.most_rows * key_stride);
    out = take(plan.most_rows * value_stride);
    q = take(plan.most_rows * plan.query_width);
    sums = take(plan.most_rows);
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

/// scores[r][p] = scale * q_r . k_p for the positions the block sees. Some lie behind a row's own
/// position: nobody reads those.
inline void block_scores(const AttentionPlan& plan, const AttentionBlock& block, int64_t keys,
                         AttentionScratch& scratch) {
  const AttentionArgs& args = plan.args;
  const int64_t dqk = plan.query_width;
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = block.sequence->query_row + plan.query_of(block, r);
    const float* q = values<float>(args.q) + row * args.q.row_stride + plan.head_of(block, r) * dqk;
    std::copy_n(q, dqk, scratch.q + r * dqk);
    std::fill_n(scratch.scores + r * scratch.key_stride, whole_vectors(keys), 0.0f);
  }
  const int64_t key_head = args.key_heads == 1 ? 0 : block.head;
  for (int64_t first = 0; first < keys; first += 64) {
    const int64_t count = std::min<int64_t>(64, keys - first);
    const float* rows[64];
    find_rows(block.sequence->keys, first, count, key_head * dqk, rows);
    turn_rows(rows, count, dqk, scratch.turned_keys);
    int64_t r = 0;  // the first row that sees this tile
    while (plan.keys_of(block, r) <= first) ++r;
    attention_product({.a = scratch.q + r * dqk,
                       .a_row = dqk,
                       .a_depth = 1,
                       .b = scratch.turned_keys,
                       .b_row = 64,
                       .c = scratch.scores + r * scratch.key_stride + first,
                       .c_row = scratch.key_stride},
                      block.rows - r, whole_vectors(count), {0, dqk});
  }
}

/// Scores to exp(scale * score - max) in place, over the row's own keys.
struct RowSums {
  float greatest;
  float sum;
};
inline RowSums softmax_row(float* scores, int64_t keys, float scale) {
  const float none = -std::numeric_limits<float>::infinity();
  F16 greatest = set1(none);
  for (int64_t p = 0; p < keys; p += 16) {
    F16 s = load(scores + p) * set1(scale);
    store(scores + p, s);
    if (p + 16 > keys) {
      std::fill(scores + keys, scores + p + 16, none);
      s = load(scores + p);
    }
    greatest = greater_of(s, greatest);  // NaN does not win here, but stays in its score
  }
  const float top = greatest_lane(greatest);
  F16 sum = zero();
  for (int64_t p = 0; p < keys; p += 16) {
    const F16 e = exp(load(scores + p) - set1(top));
    store(scores + p, e);
    sum = sum + e;  // lane = position mod 16; lanes behind the last key add +0
  }
  return {top, sum_lanes(sum)};
}

/// out[r] = sum_p probability[r][p] * v_p over the row's own keys.
inline void block_values(const AttentionPlan& plan, const AttentionBlock& block, int64_t keys,
                         AttentionScratch& scratch) {
  const int64_t dv = plan.value_width;
  const int64_t key_head = plan.args.key_heads == 1 ? 0 : block.head;
  std::fill_n(scratch.out, block.rows * scratch.value_stride, 0.0f);
  for (int64_t first = 0; first < keys; first += 64) {
    const int64_t count = std::min<int64_t>(64, keys - first);
    const float* rows[64];
    find_rows(block.sequence->values, first, count, key_head * dv, rows);
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(rows[i], dv, scratch.copied_values + i * scratch.value_stride);
    }
    attention_ragged_product(
        {.a = scratch.scores + first,
         .a_row = scratch.key_stride,
         .a_depth = 1,
         .b = scratch.copied_values,
         .b_row = scratch.value_stride,
         .c = scratch.out,
         .c_row = scratch.value_stride},
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
    for (int64_t r = 0; r < block.rows; ++r) {
      const RowSums row =
          softmax_row(scratch.scores + r * scratch.key_stride, plan.keys_of(block, r), args.scale);
      scratch.sums[r] = row.sum;
      if (args.log_sums.data == nullptr) continue;
      const int64_t t = block.sequence->query_row + plan.query_of(block, r);
      values<float>(args.log_sums)[t * args.log_sums.row_stride + plan.head_of(block, r)] =
          static_cast<float>(row.greatest + log_exact(row.sum));
    }
    block_values(plan, block, keys, scratch);
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t t = block.sequence->query_row + plan.query_of(block, r);
      float* o = values<float>(args.o) + t * args.o.row_stride + plan.head_of(block, r) * dv;
      const float* out = scratch.out + r * scratch.value_stride;
      for_lanes(dv, [&](int64_t i, int n) {
        store_lanes(o + i, load(out + i) / set1(scratch.sums[r]), n);
      });
    }
  }
}

#endif
