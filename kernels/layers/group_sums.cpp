#include "kernels/layers/group_sums.h"

#include <algorithm>
#include <map>

namespace troupe::kernels {
namespace {

Buffer table(const std::vector<int32_t>& values, int64_t rows, int64_t cols) {
  Buffer buffer = allocate_shared(DType::i32, {rows, cols});
  std::copy(values.begin(), values.end(), kernels::values<int32_t>(buffer.view));
  return buffer;
}

}  // namespace

GroupSums plan_group_sums(const HolderRows& rows) {
  const auto experts = static_cast<int64_t>(rows.offsets.size()) - 1;
  const int32_t* token = values<int32_t>(rows.token);
  std::vector<int32_t> lone;
  std::vector<std::vector<int32_t>> sums;  // rows of each, experts in id order
  size_t width = 1;
  for (int64_t e = 0; e < experts;) {
    const int64_t group = (rows.first_expert + e) / rows.group_experts;
    const int64_t end = std::min(experts, (group + 1) * rows.group_experts - rows.first_expert);
    const int64_t first_row = rows.offsets[static_cast<size_t>(e)];
    const int64_t last_row = rows.offsets[static_cast<size_t>(end)];
    const bool is_whole = rows.first_expert + e == group * rows.group_experts &&
                          end - e == rows.group_experts;
    std::map<int32_t, std::vector<int32_t>> by_token;
    for (int64_t r = first_row; r < last_row; ++r) {
      if (is_whole) {
        by_token[token[r]].push_back(static_cast<int32_t>(r));
      } else {
        lone.push_back(static_cast<int32_t>(r));
      }
    }
    for (auto& [t, of_token] : by_token) {
      width = std::max(width, of_token.size());
      sums.push_back(std::move(of_token));
    }
    e = end;
  }
  std::vector<int32_t> source(sums.size() * width, -1), row(sums.size() * width, 0);
  for (size_t s = 0; s < sums.size(); ++s) {
    for (size_t k = 0; k < sums[s].size(); ++k) {
      source[s * width + k] = 0;
      row[s * width + k] = sums[s][k];
    }
  }
  const auto S = static_cast<int64_t>(sums.size()), W = static_cast<int64_t>(width);
  GroupSums plan;
  plan.source = table(source, S, W);
  plan.row = table(row, S, W);
  plan.group = table(std::vector<int32_t>(source.size(), 0), S, W);
  plan.flat_row = plan.row;
  plan.flat_row.view = reshape(plan.row.view, {S * W});
  plan.lone = allocate_shared(DType::i32, {static_cast<int64_t>(lone.size())});
  std::copy(lone.begin(), lone.end(), values<int32_t>(plan.lone.view));
  return plan;
}

}  // namespace troupe::kernels
