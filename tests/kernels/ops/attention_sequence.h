// What the tests of attention share: one sequence's inputs, and caches of them.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/ops/attention.h"
#include "tests/kernels/fixtures.h"
#include "tests/kernels/reference/attention.h"

namespace troupe::tests {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// One sequence from position 0.
struct Sequence {
  Sequence(const reference::AttentionShape& s, uint32_t stream)
      : shape(s),
        q(normal({s.S, s.H * s.dqk}, stream)),
        k(normal({s.S, s.H_kv * s.dqk}, stream + 1)),
        v(normal({s.S, s.H_kv * s.dv}, stream + 2)) {}

  float scale() const { return static_cast<float>(shape.scale); }

  reference::AttentionShape shape;
  kernels::Buffer q, k, v;
};

inline kernels::KeyPages one_page(const kernels::ConstTensor& rows) {
  return {.pages = {rows}, .page_rows = rows.rows()};
}

/// The same rows in pages, the last page first in memory, between columns of something else. All
/// that is not a row is NaN: a read of it shows.
struct Paged {
  Paged(const kernels::ConstTensor& rows, int64_t page_rows, int64_t margin) {
    const int64_t count = (rows.rows() + page_rows - 1) / page_rows, width = rows.cols();
    memory = kernels::allocate_f32({count * page_rows, width + 2 * margin});
    std::fill_n(kernels::values<float>(memory.view), memory.view.count(), not_a_number);
    keys.page_rows = page_rows;
    for (int64_t i = 0; i < count; ++i) {
      const kernels::Tensor page = kernels::columns(
          kernels::row_range(memory.view, (count - 1 - i) * page_rows, page_rows), margin, width);
      for (int64_t r = 0; r < page_rows && i * page_rows + r < rows.rows(); ++r) {
        const float* from = kernels::values<float>(rows) + (i * page_rows + r) * rows.row_stride;
        std::copy_n(from, width, kernels::values<float>(page) + r * page.row_stride);
      }
      keys.pages.push_back(page);
    }
  }

  kernels::Buffer memory;
  kernels::KeyPages keys;
};

/// `rows` as columns of a wider matrix that is NaN elsewhere.
struct Widened {
  explicit Widened(const kernels::ConstTensor& rows) : paged(rows, rows.rows(), 5) {}
  kernels::ConstTensor view() const { return paged.keys.pages[0]; }
  Paged paged;
};

/// Odd widths and lengths; a key for each head, for some and for all.
inline const std::vector<reference::AttentionShape> attention_shapes{
    {1, 1, 1, 1, 1, 1.0},       {64, 2, 2, 16, 16, 0.25},   {65, 3, 3, 24, 20, 0.2},
    {200, 4, 4, 48, 32, 0.144}, {131, 5, 1, 40, 33, 0.15},  {90, 16, 1, 72, 64, 0.1},
    {77, 2, 2, 192, 128, 0.07}, {300, 1, 1, 33, 47, -0.17}, {40, 2, 1, 576, 512, 0.04},
    {137, 6, 2, 40, 33, 0.15},  {70, 12, 3, 20, 20, 0.2},
};

/// o and, behind it, log_sums, row by row: so rows of several calls can be joined.
inline std::vector<float> joined(const kernels::ConstTensor& o,
                                 const kernels::ConstTensor& log_sums) {
  std::vector<float> all;
  for (int64_t t = 0; t < o.rows(); ++t) {
    for (const kernels::ConstTensor& part :
         {kernels::row_range(o, t, 1), kernels::row_range(log_sums, t, 1)}) {
      const std::vector<float> row = to_vector(part);
      all.insert(all.end(), row.begin(), row.end());
    }
  }
  return all;
}

/// Queries [first, first + queries) of the sequence.
inline std::vector<float> run_attention(kernels::Queue& queue, const Sequence& s, int64_t first,
                                        int64_t queries, const kernels::KeyPages& keys,
                                        const kernels::KeyPages& values) {
  const kernels::Buffer o = kernels::allocate_f32({queries, s.shape.H * s.shape.dv});
  const kernels::Buffer log_sums = kernels::allocate_f32({queries, s.shape.H});
  kernels::attention(queue, {.q = kernels::row_range(kernels::ConstTensor(s.q), first, queries),
                             .heads = s.shape.H,
                             .key_heads = s.shape.H_kv,
                             .scale = s.scale(),
                             .sequences = {{.query_row = 0,
                                            .queries = queries,
                                            .first_position = first,
                                            .keys = keys,
                                            .values = values}},
                             .o = o,
                             .log_sums = log_sums});
  queue.wait();
  return joined(o, log_sums);
}

inline std::vector<float> run_attention(kernels::Queue& queue, const Sequence& s) {
  return run_attention(queue, s, 0, s.shape.S, one_page(s.k), one_page(s.v));
}

}  // namespace troupe::tests
