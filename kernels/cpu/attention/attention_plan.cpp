#include "kernels/cpu/attention/attention_plan.h"

#include <algorithm>
#include <string>

namespace troupe::kernels::cpu {
namespace {

/// A block's scores should stay near the core: at most 4 MiB, for 8 rows at least.
constexpr int64_t most_scores = int64_t{1} << 20;

int64_t width_of_head(const char* what, const ConstTensor& t, int64_t heads) {
  if (heads > 0 && t.cols() > 0 && t.cols() % heads == 0) return t.cols() / heads;
  throw KernelError(std::string(what) + " is " + describe(t) + ", wanted columns for " +
                    std::to_string(heads) + " heads");
}

/// Every row below `rows` must be there.
void expect_pages(const std::string& what, const KeyPages& keys, int64_t rows, int64_t width,
                  Device queue) {
  const Device elsewhere = queue == Device::cuda ? Device::cpu : Device::cuda;
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
        page.device == elsewhere || page.data == nullptr) {
      throw KernelError(what + ": page " + std::to_string(i) + " is " + describe(page) +
                        ", wanted [" + std::to_string(needed) + " or more, " +
                        std::to_string(width) + "] f32 where the queue computes");
    }
  }
}

/// Two sequences that write the same row would race.
void expect_rows_apart(const std::vector<AttentionSequence>& sequences) {
  std::vector<Range> rows;
  for (const AttentionSequence& s : sequences) {
    if (s.queries > 0) rows.push_back({s.query_row, s.query_row + s.queries});
  }
  std::sort(rows.begin(), rows.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].begin < rows[i - 1].end) {
      throw KernelError("attention: two sequences have row " + std::to_string(rows[i].begin));
    }
  }
}

void check(const AttentionPlan& plan, Device queue) {
  const AttentionArgs& args = plan.args;
  const int64_t T = args.q.rows(), H = args.heads, H_kv = args.key_heads;
  if (H_kv < 1 || H % H_kv != 0) {
    throw KernelError("attention: key_heads " + std::to_string(H_kv) + ", wanted a divisor of " +
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
    expect_pages(name + " keys", s.keys, keys, H_kv * plan.query_width, queue);
    expect_pages(name + " values", s.values, keys, H_kv * plan.value_width, queue);
  }
  expect_rows_apart(args.sequences);
}

void cut_into_blocks(AttentionPlan& plan) {
  for (const AttentionSequence& s : plan.args.sequences) {
    if (s.queries == 0) continue;
    const int64_t keys = s.first_position + s.queries;
    const int64_t block_rows = std::clamp<int64_t>(most_scores / keys / 8 * 8, 8, 64);
    const int64_t rows = s.queries * plan.heads_together;
    plan.most_keys = std::max(plan.most_keys, keys);
    plan.most_rows = std::max(plan.most_rows, std::min(rows, block_rows));
    for (int64_t key_head = 0; key_head < plan.args.key_heads; ++key_head) {
      for (int64_t row = 0; row < rows; row += block_rows) {
        plan.blocks.push_back({&s, key_head, row, std::min(block_rows, rows - row)});
      }
    }
  }
}

}  // namespace

std::shared_ptr<const AttentionPlan> plan_attention(const AttentionArgs& args, Device queue) {
  const auto plan = std::make_shared<AttentionPlan>();
  plan->args = args;
  plan->query_width = width_of_head("attention q", args.q, args.heads);
  plan->value_width = width_of_head("attention o", args.o, args.heads);
  check(*plan, queue);
  plan->heads_together = args.heads / args.key_heads;
  cut_into_blocks(*plan);
  return plan;
}

}  // namespace troupe::kernels::cpu
