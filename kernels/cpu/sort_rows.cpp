#include "kernels/ops/sort_rows.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "kernels/profile.h"

namespace troupe::kernels {
namespace {

const int32_t* row_of(const ConstTensor& t, int64_t row) { return values<int32_t>(t) + row * t.row_stride; }
int32_t* row_of(const Tensor& t, int64_t row) { return values<int32_t>(t) + row * t.row_stride; }

/// By experts in the order of their sources, then by token.
void sort_all_rows(const SortRowsArgs& args, int64_t T, int64_t K, int64_t E) {
  int32_t* const counts = values<int32_t>(args.counts);
  std::fill(counts, counts + E, 0);
  for (int64_t t = 0; t < T; ++t) {
    const int32_t* const ids = row_of(args.expert_ids, t);
    for (int64_t k = 0; k < K; ++k) {
      if (ids[k] < 0 || ids[k] >= E) {
        throw KernelError("sort_rows expert id " + std::to_string(ids[k]) + " at row " + std::to_string(t) +
                          ", wanted 0 to " + std::to_string(E - 1));
      }
      ++counts[ids[k]];
    }
  }
  std::vector<int32_t> order(static_cast<size_t>(E));
  std::iota(order.begin(), order.end(), 0);
  const auto owner_of = [&](int32_t e) { return args.owner[static_cast<size_t>(e)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return owner_of(a) < owner_of(b); });
  struct Expert {
    int32_t next, first_of_source;  // rows
  };
  std::vector<Expert> experts(static_cast<size_t>(E));
  int32_t rows = 0, first = 0, source = -1;
  for (const int32_t e : order) {
    if (owner_of(e) != source) first = rows;
    source = owner_of(e);
    experts[static_cast<size_t>(e)] = {rows, first};
    rows += counts[e];
  }
  int32_t* const index = values<int32_t>(args.index);
  int32_t* const slots = values<int32_t>(args.slot);
  for (int64_t t = 0; t < T; ++t) {
    const int32_t* const ids = row_of(args.expert_ids, t);
    for (int64_t k = 0; k < K; ++k) {
      Expert& expert = experts[static_cast<size_t>(ids[k])];
      const int32_t row = expert.next++;
      index[row] = static_cast<int32_t>(t);
      slots[row] = static_cast<int32_t>(t * K + k);
      row_of(args.source, t)[k] = owner_of(ids[k]);
      row_of(args.row, t)[k] = row - expert.first_of_source;
      row_of(args.group, t)[k] = static_cast<int32_t>(ids[k] / (E / args.groups));
    }
  }
}

}  // namespace

void sort_rows(Queue& queue, const SortRowsArgs& args) {
  const OperatorLabel label("sort_rows");
  const int64_t T = args.expert_ids.rows(), K = args.expert_ids.cols();
  const auto E = static_cast<int64_t>(args.owner.size());
  if (E > most_sorted_experts) {
    throw KernelError("sort_rows has " + std::to_string(E) + " experts, wanted at most " +
                      std::to_string(most_sorted_experts));
  }
  if (args.groups < 1 || E % args.groups != 0) {
    throw KernelError("sort_rows has " + std::to_string(E) + " experts in " + std::to_string(args.groups) +
                      " groups, wanted groups of one size");
  }
  expect_shape("sort_rows expert_ids", args.expert_ids, DType::i32, {T, K});
  for (const Tensor& table : {args.source, args.row, args.group}) {
    expect_shape("sort_rows table", table, DType::i32, {T, K});
  }
  for (const Tensor& table : {args.index, args.slot}) {
    expect_shape("sort_rows table", table, DType::i32, {T * K});
  }
  expect_shape("sort_rows counts", args.counts, DType::i32, {E});
  if (queue.is_cuda()) return cuda::sort_rows(queue, args);
  queue.run(1, [args, T, K, E](int64_t) { sort_all_rows(args, T, K, E); });
}

}  // namespace troupe::kernels
