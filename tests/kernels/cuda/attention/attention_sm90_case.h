// Attention on the host in double precision, and calls of Hopper's kernels with the same numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/cuda/device_array.h"

namespace troupe::tests {

constexpr int64_t query_width = 192, nope_width = 128, rope_width = 64, value_width = 128;
constexpr uint16_t bf16_nan = 0x7fc1;

/// Sequences one behind the other, then `padding` rows of NaN. Every head has a rotated key of its
/// own. Queries are as many as keys, or the last `queries[s]` positions of sequence s.
struct AttentionCase {
  int64_t heads;
  std::vector<int64_t> keys;
  std::vector<int64_t> queries;
  float scale = 0.1f;
  std::vector<uint16_t> q, k, k_rope, v, d_o;  ///< [rows, heads, width]

  int64_t query_rows() const { return std::accumulate(queries.begin(), queries.end(), int64_t{0}); }
  int64_t key_rows() const { return std::accumulate(keys.begin(), keys.end(), int64_t{0}); }
};

inline std::vector<uint16_t> normal_rows(Numbers& numbers, int64_t rows, int64_t cols,
                                         int64_t padding) {
  std::vector<uint16_t> out;
  for (int64_t i = 0; i < rows * cols; ++i) out.push_back(kernels::f32_to_bf16(numbers.normal()));
  out.resize(static_cast<size_t>((rows + padding) * cols), bf16_nan);
  return out;
}

inline AttentionCase make_attention(int64_t heads, const std::vector<int64_t>& keys,
                                    const std::vector<int64_t>& queries, uint64_t seed,
                                    int64_t padding = 70) {
  AttentionCase x{heads, keys, queries, 0.1f, {}, {}, {}, {}, {}};
  Numbers numbers(seed);
  x.q = normal_rows(numbers, x.query_rows(), heads * query_width, padding);
  x.k = normal_rows(numbers, x.key_rows(), heads * nope_width, padding);
  x.k_rope = normal_rows(numbers, x.key_rows(), heads * rope_width, padding);
  x.v = normal_rows(numbers, x.key_rows(), heads * value_width, padding);
  x.d_o = normal_rows(numbers, x.query_rows(), heads * value_width, padding);
  return x;
}

/// Rows `first` to `first + count` of a matrix.
template <typename T>
std::vector<T> rows_from(const std::vector<T>& x, int64_t cols, int64_t first, int64_t count) {
  return {x.begin() + first * cols, x.begin() + (first + count) * cols};
}

/// The queries from `first_query` on, `queries` of them, of sequence `s` alone, with the keys up to
/// the last; then rows of NaN.
inline AttentionCase part_of(const AttentionCase& x, size_t s, int64_t first_query, int64_t queries,
                             int64_t padding = 70) {
  const int64_t query = std::accumulate(x.queries.begin(), x.queries.begin() + s, int64_t{0});
  const int64_t key = std::accumulate(x.keys.begin(), x.keys.begin() + s, int64_t{0});
  const int64_t keys = x.keys[s] - x.queries[s] + first_query + queries, H = x.heads;
  AttentionCase part{H, {keys}, {queries}, x.scale, {}, {}, {}, {}, {}};
  const auto cut = [&](const std::vector<uint16_t>& from, int64_t cols, int64_t first,
                       int64_t count) {
    std::vector<uint16_t> out = rows_from(from, H * cols, first, count);
    out.resize(static_cast<size_t>((count + padding) * H * cols), bf16_nan);
    return out;
  };
  part.q = cut(x.q, query_width, query + first_query, queries);
  part.d_o = cut(x.d_o, value_width, query + first_query, queries);
  part.k = cut(x.k, nope_width, key, keys);
  part.k_rope = cut(x.k_rope, rope_width, key, keys);
  part.v = cut(x.v, value_width, key, keys);
  return part;
}

inline std::vector<int32_t> offsets_of(const std::vector<int64_t>& rows) {
  std::vector<int32_t> out{0};
  for (const int64_t n : rows) out.push_back(out.back() + static_cast<int32_t>(n));
  return out;
}

struct AttentionOut {
  std::vector<uint16_t> o;      ///< [rows, heads * 128]
  std::vector<float> log_sums;  ///< [heads, total]
  int64_t total;
  bool operator==(const AttentionOut& other) const {
    return o == other.o && log_sums == other.log_sums;
  }
};

/// On the device, with memory for more rows than there are. Outputs begin as NaN.
inline AttentionOut run_attention(const AttentionCase& x, bool with_offsets = true) {
  const int64_t H = x.heads, total = static_cast<int64_t>(x.q.size()) / (H * query_width);
  const int64_t total_keys = static_cast<int64_t>(x.k.size()) / (H * nope_width);
  const DeviceArray<uint16_t> q(x.q), k(x.k), k_rope(x.k_rope), v(x.v);
  const DeviceArray<int32_t> queries(offsets_of(x.queries)), keys(offsets_of(x.keys));
  DeviceArray<uint16_t> o(static_cast<size_t>(total * H * value_width), bf16_nan);
  DeviceArray<float> log_sums(static_cast<size_t>(H * total), -7.0f);
  DeviceArray<int32_t> counter(1, 99);
  kernels::cuda::attention_forward_sm90(
      {.heads = H,
       .sequences = static_cast<int64_t>(x.keys.size()),
       .queries = {with_offsets ? queries.data() : nullptr,
                   *std::max_element(x.queries.begin(), x.queries.end()), total},
       .keys = {with_offsets ? keys.data() : nullptr,
                *std::max_element(x.keys.begin(), x.keys.end()), total_keys},
       .scale = x.scale,
       .q = {q.data(), H * query_width, query_width},
       .k = {k.data(), H * nope_width, nope_width},
       .k_rope = {k_rope.data(), H * rope_width, rope_width},
       .v = {v.data(), H * value_width, value_width},
       .o = o.data(),
       .log_sums = log_sums.data(),
       .counter = counter.data()},
      nullptr);
  return {o.values(), log_sums.values(), total};
}

/// One head of one sequence in double precision; matrices are row-major.
struct HeadReference {
  int64_t queries, keys;
  std::vector<double> q, k, v, d_o;    ///< [rows, width]
  std::vector<double> p, o, log_sums;  ///< [queries, keys], [queries, 128], [queries]
};

inline double number(const std::vector<uint16_t>& x, int64_t at) {
  return kernels::bf16_to_f32(x[static_cast<size_t>(at)]);
}

inline HeadReference reference_of(const AttentionCase& x, size_t s, int64_t head) {
  const AttentionCase part = part_of(x, s, 0, x.queries[s], 0);
  HeadReference r{part.queries[0], part.keys[0], {}, {}, {}, {}, {}, {}, {}};
  const int64_t H = x.heads;
  const auto add = [&](std::vector<double>& to, const std::vector<uint16_t>& from, int64_t row,
                       int64_t width) {
    for (int64_t c = 0; c < width; ++c) to.push_back(number(from, (row * H + head) * width + c));
  };
  for (int64_t i = 0; i < r.queries; ++i) {
    add(r.q, part.q, i, query_width);
    add(r.d_o, part.d_o, i, value_width);
  }
  for (int64_t j = 0; j < r.keys; ++j) {
    add(r.k, part.k, j, nope_width);
    add(r.k, part.k_rope, j, rope_width);
    add(r.v, part.v, j, value_width);
  }
  r.p.assign(static_cast<size_t>(r.queries * r.keys), 0);
  r.o.assign(static_cast<size_t>(r.queries * value_width), 0);
  for (int64_t i = 0; i < r.queries; ++i) {
    double* p = r.p.data() + i * r.keys;
    const int64_t seen = r.keys - r.queries + i + 1;
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < seen; ++j) {
      p[j] = x.scale * std::inner_product(r.q.begin() + i * query_width,
                                          r.q.begin() + (i + 1) * query_width,
                                          r.k.begin() + j * query_width, 0.0);
      most = std::max(most, p[j]);
    }
    for (int64_t j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - most);
    r.log_sums.push_back(most + std::log(sum));
    for (int64_t j = 0; j < seen; ++j) {
      p[j] /= sum;
      for (int64_t c = 0; c < value_width; ++c) {
        r.o[static_cast<size_t>(i * value_width + c)] += p[j] * r.v[j * value_width + c];
      }
    }
  }
  return r;
}

/// Size of the difference over the size of what was wanted, and the greatest difference.
struct Difference {
  double relative, greatest;
};
inline Difference difference(const std::vector<double>& found, const std::vector<double>& wanted) {
  double error = 0, size = 0, greatest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double e = std::fabs(found[i] - wanted[i]);
    if (!(e < 1e30)) return {std::numeric_limits<double>::infinity(), e};
    error += e * e;
    size += wanted[i] * wanted[i];
    greatest = std::max(greatest, e);
  }
  return {size == 0 ? std::sqrt(error) : std::sqrt(error / size), greatest};
}

/// A head's columns of the rows from `first` on.
inline std::vector<double> head_rows(const std::vector<uint16_t>& x, int64_t heads, int64_t width,
                                     int64_t head, int64_t first, int64_t rows) {
  std::vector<double> out;
  for (int64_t r = first; r < first + rows; ++r) {
    for (int64_t c = 0; c < width; ++c) out.push_back(number(x, (r * heads + head) * width + c));
  }
  return out;
}

}  // namespace troupe::tests
