#if !defined(TROUPE_ISA_PASS)

#include "kernels/cpu/row_type.h"
#include "kernels/ops/permute.h"
#include "kernels/profile.h"

#include <string>
#include <vector>

namespace troupe::kernels::cpu {

/// One of the K rows of a token; no data: nothing stands there.
struct PlacedRow {
  const float* data = nullptr;
  bool is_sum = false;  ///< of its whole group
};

}  // namespace troupe::kernels::cpu

#define TROUPE_ISA_FILE "kernels/cpu/permute.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

template <class T>
const T* row_of(const ConstTensor& t, int64_t r) {
  return values<T>(t) + r * t.row_stride;
}

/// Where the K rows of a token lie; throws KernelError if an index leads outside, or if groups
/// descend, which would break law 2's order.
void find_rows(const CombineRowsArgs& args, int64_t t, PlacedRow* rows) {
  const int32_t* source = row_of<int32_t>(args.source, t);
  const int32_t* row = row_of<int32_t>(args.row, t);
  const int32_t* group = row_of<int32_t>(args.group, t);
  for (int64_t k = 0; k < args.source.cols(); ++k) {
    if (k > 0 && group[k] < group[k - 1]) {
      throw KernelError("combine_rows token " + std::to_string(t) + " has group " +
                        std::to_string(group[k]) + " after " + std::to_string(group[k - 1]) +
                        ", wanted ascending");
    }
    rows[k] = {};
    if (source[k] == -1) continue;
    if (source[k] < 0 || source[k] >= static_cast<int64_t>(args.rows.size())) {
      throw KernelError("combine_rows token " + std::to_string(t) + " names source " +
                        std::to_string(source[k]) + " of " + std::to_string(args.rows.size()));
    }
    const ConstTensor& from = args.rows[static_cast<size_t>(source[k])];
    if (row[k] < 0 || row[k] >= from.rows()) {
      throw KernelError("combine_rows token " + std::to_string(t) + " names row " +
                        std::to_string(row[k]) + " of " + std::to_string(from.rows()));
    }
    const auto from_source = static_cast<size_t>(source[k]);
    rows[k] = {row_of<float>(from, row[k]),
               from_source < args.are_sums.size() && args.are_sums[from_source]};
  }
}

}  // namespace

void gather_rows(Queue& queue, const GatherRowsArgs& args) {
  const OperatorLabel label("gather_rows");
  const int64_t T = args.x.rows(), D = args.x.cols(), R = args.y.rows();
  expect_shape("gather_rows x", args.x, row_type(queue, args.x), {T, D});
  expect_shape("gather_rows index", args.index, DType::i32, {R});
  expect_shape("gather_rows y", args.y, row_type(queue, args.y), {R, D});
  if (queue.is_cuda()) return cuda::gather_rows(queue, args);
  const int64_t parts = part_count(queue, R, D);
  queue.run(parts, [args, T, D, R, parts](int64_t part) {
    const auto [begin, end] = part_range(R, parts, part);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t from = values<int32_t>(args.index)[r];
      if (from < 0 || from >= T) {
        throw KernelError("gather_rows index " + std::to_string(from) + " at row " +
                          std::to_string(r) + ", wanted 0 to " + std::to_string(T - 1));
      }
      std::memcpy(values<float>(args.y) + r * args.y.row_stride, row_of<float>(args.x, from),
                  static_cast<size_t>(D) * sizeof(float));
    }
  });
}

void combine_rows(Queue& queue, const CombineRowsArgs& args) {
  const OperatorLabel label("combine_rows");
  const int64_t T = args.y.rows(), D = args.y.cols(), K = args.source.cols();
  for (const ConstTensor& rows : args.rows) {
    expect_shape("combine_rows rows", rows, row_type(queue, rows), {rows.rows(), D});
  }
  expect_shape("combine_rows source", args.source, DType::i32, {T, K});
  expect_shape("combine_rows row", args.row, DType::i32, {T, K});
  expect_shape("combine_rows group", args.group, DType::i32, {T, K});
  if (args.weight.data) expect_shape("combine_rows weight", args.weight, DType::f32, {T, K});
  expect_shape("combine_rows y", args.y, DType::f32, {T, D});
  if (queue.is_cuda()) return cuda::combine_rows(queue, args);
  const int64_t parts = part_count(queue, T, (K + 1) * D);
  queue.run(parts, [args, T, K, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    std::vector<PlacedRow> rows(static_cast<size_t>(K));
    for (int64_t t = begin; t < end; ++t) {
      find_rows(args, t, rows.data());
      TROUPE_ISA_CALL(combine_row)(args, t, rows.data());
    }
  });
}

void scale_rows(Queue& queue, const ScaleRowsArgs& args) {
  const OperatorLabel label("scale_rows");
  const int64_t R = args.x.rows(), D = args.x.cols();
  expect_shape("scale_rows x", args.x, DType::f32, {R, D});
  expect_shape("scale_rows scale", args.scale, DType::f32, {R});
  expect_shape("scale_rows y", args.y, DType::f32, {R, D});
  if (queue.is_cuda()) return cuda::scale_rows(queue, args);
  const int64_t parts = part_count(queue, R, D);
  queue.run(parts, [args, R, parts](int64_t part) {
    const auto [begin, end] = part_range(R, parts, part);
    TROUPE_ISA_CALL(scale_range)(args, begin, end);
  });
}

void dot_rows(Queue& queue, const DotRowsArgs& args) {
  const OperatorLabel label("dot_rows");
  const int64_t R = args.a.rows(), D = args.a.cols();
  expect_shape("dot_rows a", args.a, DType::f32, {R, D});
  expect_shape("dot_rows b", args.b, DType::f32, {R, D});
  expect_shape("dot_rows y", args.y, DType::f32, {R});
  if (queue.is_cuda()) return cuda::dot_rows(queue, args);
  const int64_t parts = part_count(queue, R, D);
  queue.run(parts, [args, R, parts](int64_t part) {
    const auto [begin, end] = part_range(R, parts, part);
    TROUPE_ISA_CALL(dot_range)(args, begin, end);
  });
}

void add(Queue& queue, const AddArgs& args) {
  const OperatorLabel label("add");
  const int64_t T = args.a.rows(), D = args.a.cols();
  expect_shape("add a", args.a, DType::f32, {T, D});
  expect_shape("add b", args.b, DType::f32, {T, D});
  if (args.onto.data) expect_shape("add onto", args.onto, DType::f32, {T, D});
  expect_shape("add y", args.y, DType::f32, {T, D});
  if (queue.is_cuda()) return cuda::add(queue, args);
  const int64_t parts = part_count(queue, T, D);
  queue.run(parts, [args, T, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    TROUPE_ISA_CALL(add_range)(args, begin, end);
  });
}

void copy(Queue& queue, const CopyArgs& args) {
  const OperatorLabel label("copy");
  const int64_t T = args.x.rows(), D = args.x.cols();
  expect_shape("copy y", args.y, args.x.dtype, {T, D});
  if (queue.is_cuda()) return cuda::copy(queue, args);
  const int64_t parts = part_count(queue, T, D), element = size_of(args.x.dtype);
  queue.run(parts, [args, T, D, parts, element](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      std::memcpy(values<char>(args.y) + t * args.y.row_stride * element,
                  values<char>(args.x) + t * args.x.row_stride * element,
                  static_cast<size_t>(D * element));
    }
  });
}

void set_zero(Queue& queue, const SetZeroArgs& args) {
  const OperatorLabel label("set_zero");
  const int64_t T = args.y.rows(), D = args.y.cols();
  if (queue.is_cuda()) return cuda::set_zero(queue, args);
  const int64_t parts = part_count(queue, T, D), element = size_of(args.y.dtype);
  queue.run(parts, [args, T, D, parts, element](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      std::memset(values<char>(args.y) + t * args.y.row_stride * element, 0,
                  static_cast<size_t>(D * element));
    }
  });
}

}  // namespace troupe::kernels

#else

inline void combine_row(const CombineRowsArgs& args, int64_t t, const PlacedRow* rows) {
  const int64_t K = args.source.cols();
  const int32_t* group = values<int32_t>(args.group) + t * args.group.row_stride;
  const float* weight =
      args.weight.data ? values<float>(args.weight) + t * args.weight.row_stride : nullptr;
  float* y = values<float>(args.y) + t * args.y.row_stride;
  for_lanes(args.y.cols(), [&](int64_t i, int n) {
    F16 total = zero(), sum = zero();
    bool first = true;  // of the groups: `total` begins as its sum
    for (int64_t k = 0; k < K; ++k) {
      if (rows[k].data) {
        const F16 row = load_lanes(rows[k].data + i, n);
        sum = rows[k].is_sum ? row : weight ? fma(set1(weight[k]), row, sum) : sum + row;
      }
      if (k + 1 < K && group[k + 1] == group[k]) continue;
      if (args.rounds_groups) sum = nearest_bf16(sum);
      total = first ? sum : total + sum;
      first = false;
      sum = zero();
    }
    store_lanes(y + i, total, n);
  });
}

inline void scale_range(const ScaleRowsArgs& args, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = values<float>(args.x) + r * args.x.row_stride;
    float* y = values<float>(args.y) + r * args.y.row_stride;
    const F16 scale = set1(values<float>(args.scale)[r]);
    for_lanes(args.x.cols(),
              [&](int64_t i, int n) { store_lanes(y + i, scale * load_lanes(x + i, n), n); });
  }
}

inline void dot_range(const DotRowsArgs& args, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    values<float>(args.y)[r] = dot(values<float>(args.a) + r * args.a.row_stride,
                                   values<float>(args.b) + r * args.b.row_stride, args.a.cols());
  }
}

inline void add_range(const AddArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* a = values<float>(args.a) + t * args.a.row_stride;
    const float* b = values<float>(args.b) + t * args.b.row_stride;
    float* y = values<float>(args.y) + t * args.y.row_stride;
    if (args.onto.data) {
      const float* onto = values<float>(args.onto) + t * args.onto.row_stride;
      for_lanes(args.a.cols(), [&](int64_t i, int n) {
        store_lanes(y + i, load_lanes(onto + i, n) + (load_lanes(a + i, n) + load_lanes(b + i, n)), n);
      });
      continue;
    }
    for_lanes(args.a.cols(), [&](int64_t i, int n) {
      store_lanes(y + i, load_lanes(a + i, n) + load_lanes(b + i, n), n);
    });
  }
}

#endif
