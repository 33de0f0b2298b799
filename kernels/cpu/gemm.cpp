#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/gemm.h"

#include <memory>
#include <string>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/cpu/gemm/gemm_block.h"
#include "kernels/cpu/gemm/gemm_pairs.h"
#include "kernels/cpu/gemm/gemm_plan.h"
#include "kernels/cuda/gemm.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/gemm.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

MultiplyBlock function_of(Operands operands) {
  if (operands == Operands::numbers) return TROUPE_ISA_CALL(multiply_numbers);
  return current_isa() == Isa::avx512_bf16 ? &multiply_pairs : TROUPE_ISA_CALL(multiply_rounded);
}

/// On a GPU the layers round before.
void expect_numbers_on_cuda(const char* what, Operands operands, const Queue& queue) {
  if (operands == Operands::numbers || !queue.is_cuda()) return;
  throw KernelError(std::string(what) + " rounds its operands and is on the GPU, wanted a queue on the CPU");
}

}  // namespace

void gemm(Queue& queue, const GemmArgs& args) {
  const OperatorLabel label("gemm");
  const int64_t M = args.transpose_a ? args.a.cols() : args.a.rows();
  const int64_t K = args.transpose_a ? args.a.rows() : args.a.cols();
  const int64_t N = args.transpose_b ? args.b.rows() : args.b.cols();
  if (args.transpose_a) {
    expect_shape("gemm a (transposed)", args.a, DType::f32, {K, M});
  } else {
    expect_shape("gemm a", args.a, DType::f32, {M, K});
  }
  if (args.transpose_b) {
    expect_shape("gemm b (transposed)", args.b, DType::f32, {N, K});
  } else {
    expect_shape("gemm b", args.b, DType::f32, {K, N});
  }
  expect_shape("gemm c", args.c, DType::f32, {M, N});
  const GemmBlock whole{.a = values<float>(args.a),
                        .a_row = args.transpose_a ? 1 : args.a.row_stride,
                        .a_k = args.transpose_a ? args.a.row_stride : 1,
                        .b = values<float>(args.b),
                        .b_stride = args.b.row_stride,
                        .b_transposed = args.transpose_b,
                        .c = values<float>(args.c),
                        .c_row = args.c.row_stride,
                        .rows = M,
                        .cols = N,
                        .depth = K,
                        .add = args.add_to_c};
  expect_operands("gemm", {args.a, args.b, args.c}, queue.device());
  if (queue.is_cuda()) return cuda::multiply(queue, "gemm", {whole});
  run_product(queue, whole, TROUPE_ISA_CALL(multiply_numbers));
}

void grouped_gemm(Queue& queue, const GroupedGemmArgs& args) {
  const OperatorLabel label("grouped_gemm");
  const int64_t R = args.a.rows(), K = args.a.cols(), N = args.c.cols();
  expect_shape("grouped_gemm a", args.a, DType::f32, {R, K});
  expect_shape("grouped_gemm c", args.c, DType::f32, {R, N});
  expect_offsets("grouped_gemm", args.offsets, args.b.size(), R);
  std::vector<GemmBlock> groups;
  groups.reserve(args.b.size());
  for (size_t g = 0; g < args.b.size(); ++g) {
    const std::string name = "grouped_gemm b[" + std::to_string(g) + "]";
    if (args.transpose_b) {
      expect_shape(name.c_str(), args.b[g], DType::f32, {N, K});
    } else {
      expect_shape(name.c_str(), args.b[g], DType::f32, {K, N});
    }
    const int64_t first = args.offsets[g], rows = args.offsets[g + 1] - first;
    expect_operands(name.c_str(), {args.a, args.b[g], args.c}, queue.device());
    groups.push_back(row_product(row_range(args.a, first, rows), args.b[g], args.transpose_b,
                                 row_range(args.c, first, rows)));
  }
  expect_numbers_on_cuda("grouped_gemm", args.operands, queue);
  if (queue.is_cuda()) return cuda::multiply(queue, "grouped_gemm", groups);
  run_groups(queue, std::move(groups), function_of(args.operands));
}

void grouped_gemm_weights(Queue& queue, const GroupedGemmWeightsArgs& args) {
  const OperatorLabel label("grouped_gemm_weights");
  const int64_t R = args.a.rows(), M = args.a.cols(), N = args.b.cols();
  expect_shape("grouped_gemm_weights a", args.a, DType::f32, {R, M});
  expect_shape("grouped_gemm_weights b", args.b, DType::f32, {R, N});
  expect_offsets("grouped_gemm_weights", args.offsets, args.c.size(), R);
  std::vector<GemmBlock> groups;
  groups.reserve(args.c.size());
  for (size_t g = 0; g < args.c.size(); ++g) {
    const std::string name = "grouped_gemm_weights c[" + std::to_string(g) + "]";
    expect_shape(name.c_str(), args.c[g], DType::f32, {M, N});
    const int64_t first = args.offsets[g], rows = args.offsets[g + 1] - first;
    expect_operands(name.c_str(), {args.a, args.b, args.c[g]}, queue.device());
    groups.push_back(column_product(row_range(args.a, first, rows),
                                    row_range(args.b, first, rows), args.c[g]));
  }
  expect_numbers_on_cuda("grouped_gemm_weights", args.operands, queue);
  if (queue.is_cuda()) return cuda::multiply(queue, "grouped_gemm_weights", groups);
  run_groups(queue, std::move(groups), function_of(args.operands));
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/gemm/gemm_block.inl"

inline void multiply_numbers(const GemmBlock& part) { multiply_block<Numbers>(part); }
inline void multiply_rounded(const GemmBlock& part) { multiply_block<Rounded>(part); }

#endif
