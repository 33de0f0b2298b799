#include "kernels/layers/moe/group_sums.h"

#include <algorithm>
#include <span>
#include <string>

namespace troupe::kernels {
namespace {

Buffer table(const std::vector<int32_t>& values, int64_t rows, int64_t cols) {
  Buffer buffer = allocate_shared(DType::i32, {rows, cols});
  std::copy(values.begin(), values.end(), kernels::values<int32_t>(buffer.view));
  return buffer;
}

/// Rows of a routing group whose experts are all here, and how many each token has among them.
struct Group {
  int64_t first_row, last_row;
  std::vector<int32_t> counts;
};

/// One more than the highest number of a token.
int32_t token_count(std::span<const int32_t> tokens) {
  int32_t count = 0;
  for (const int32_t token : tokens) {
    if (token < 0 || token > 1 << 28) {
      throw KernelError("a row of token " + std::to_string(token) + ", wanted 0 to 2^28");
    }
    count = std::max(count, token + 1);
  }
  return count;
}

}  // namespace

GroupSums plan_group_sums(const HolderRows& rows) {
  const auto experts = static_cast<int64_t>(rows.offsets.size()) - 1;
  const int64_t R = rows.offsets.back();
  const int32_t* token = values<int32_t>(rows.token);
  const int32_t tokens = token_count({token, static_cast<size_t>(R)});
  std::vector<int32_t> lone;
  std::vector<Group> groups;
  int64_t S = 0;
  int32_t width = 1;
  for (int64_t e = 0; e < experts;) {
    const int64_t number = (rows.first_expert + e) / rows.group_experts;
    const int64_t end = std::min(experts, (number + 1) * rows.group_experts - rows.first_expert);
    const int64_t first_row = rows.offsets[static_cast<size_t>(e)];
    const int64_t last_row = rows.offsets[static_cast<size_t>(end)];
    const bool is_whole = rows.first_expert + e == number * rows.group_experts &&
                          end - e == rows.group_experts;
    if (is_whole) {
      Group& group = groups.emplace_back(Group{first_row, last_row, {}});
      group.counts.resize(static_cast<size_t>(tokens));
      for (int64_t r = first_row; r < last_row; ++r) {
        width = std::max(width, ++group.counts[static_cast<size_t>(token[r])]);
      }
      S += std::count_if(group.counts.begin(), group.counts.end(), [](int32_t count) { return count > 0; });
    } else {
      for (int64_t r = first_row; r < last_row; ++r) lone.push_back(static_cast<int32_t>(r));
    }
    e = end;
  }
  const int64_t W = width;
  std::vector<int32_t> source(static_cast<size_t>(S * W), -1), row(static_cast<size_t>(S * W), 0);
  std::vector<int64_t> next(static_cast<size_t>(tokens));  // where a token's next row of the group stands
  int64_t first_sum = 0;
  for (const Group& group : groups) {
    for (size_t t = 0; t < group.counts.size(); ++t) {
      next[t] = first_sum * W;
      first_sum += group.counts[t] > 0;
    }
    for (int64_t r = group.first_row; r < group.last_row; ++r) {  // experts in id order
      const auto at = static_cast<size_t>(next[static_cast<size_t>(token[r])]++);
      source[at] = 0;
      row[at] = static_cast<int32_t>(r);
    }
  }
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
