// Matrix products to measure: a shape, its operands, and the call.
#pragma once

#include <functional>
#include <vector>

#include "kernels/ops/gemm.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {

/// `groups` 1: gemm. More: rows in equal groups; transpose_a means weight gradients.
struct Shape {
  const char* what;
  int64_t M, N, K;
  bool transpose_a, transpose_b;
  int64_t groups = 1;
};

/// Operands of a shape, and the product as a call that enqueues.
struct Work {
  Shape shape;
  kernels::Buffer a, b, c;
  std::function<void(kernels::Queue&)> enqueue;
  double flop = 0;
};

inline Work make_work(const Shape& s) {
  using namespace kernels;
  Work work{.shape = s,
            .a = {},
            .b = {},
            .c = {},
            .enqueue = {},
            .flop = 2.0 * static_cast<double>(s.M * s.N * s.K)};
  std::vector<int64_t> offsets;
  const int64_t rows = s.transpose_a ? s.K : s.M;
  for (int64_t g = 0; g <= s.groups; ++g) offsets.push_back(rows * g / s.groups);
  work.a = s.transpose_a ? normal({s.K, s.M}, 1) : normal({s.M, s.K}, 1);
  if (s.groups == 1) {
    work.b = s.transpose_b ? normal({s.N, s.K}, 2) : normal({s.K, s.N}, 2);
    work.c = allocate_f32({s.M, s.N});
    const GemmArgs args{.a = work.a,
                        .b = work.b,
                        .transpose_a = s.transpose_a,
                        .transpose_b = s.transpose_b,
                        .c = work.c,
                        .add_to_c = false};
    work.enqueue = [args](Queue& queue) { gemm(queue, args); };
  } else if (s.transpose_a) {
    work.b = normal({s.K, s.N}, 2);
    work.c = allocate_f32({s.groups * s.M, s.N});
    GroupedGemmWeightsArgs args{.a = work.a, .b = work.b, .offsets = offsets, .c = {}};
    for (int64_t g = 0; g < s.groups; ++g) {
      args.c.push_back(row_range(Tensor(work.c), g * s.M, s.M));
    }
    work.enqueue = [args](Queue& queue) { grouped_gemm_weights(queue, args); };
  } else {
    const int64_t b_rows = s.transpose_b ? s.N : s.K;
    work.b = normal({s.groups * b_rows, s.transpose_b ? s.K : s.N}, 2);
    work.c = allocate_f32({s.M, s.N});
    GroupedGemmArgs args{
        .a = work.a, .b = {}, .transpose_b = s.transpose_b, .offsets = offsets, .c = work.c};
    for (int64_t g = 0; g < s.groups; ++g) {
      args.b.push_back(row_range(ConstTensor(work.b), g * b_rows, b_rows));
    }
    work.enqueue = [args](Queue& queue) { grouped_gemm(queue, args); };
  }
  return work;
}

}  // namespace troupe::tests
