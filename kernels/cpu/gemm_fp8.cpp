#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/gemm_fp8.h"

#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/cpu/gemm/gemm_block.h"
#include "kernels/cpu/gemm/gemm_pairs.h"
#include "kernels/cpu/gemm/gemm_plan.h"
#include "kernels/cpu/gemm/narrow_product.h"
#include "kernels/cuda/gemm.h"
#include "kernels/ops/rounding.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/gemm_fp8.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

int64_t blocks_over(int64_t n) { return tiles_over(n, scale_depth); }

/// How an element is summed.
struct Summing {
  Accumulator accumulator;
  int64_t promote_every;
};

MultiplyBlock function_of(const Summing& summing) {
  if (summing.accumulator == Accumulator::narrow) return &multiply_narrow;
  return current_isa() == Isa::avx512_bf16 ? &multiply_pairs_of_codes : TROUPE_ISA_CALL(multiply_codes);
}

void expect_summing(const std::string& what, const Summing& summing, Device queue) {
  if (summing.accumulator == Accumulator::narrow && queue == Device::cuda) {
    throw KernelError(what + " with the narrow accumulator is on the GPU, wanted a queue on the CPU");
  }
  const int64_t every = summing.promote_every;
  if (summing.accumulator == Accumulator::f32 && every != scale_depth) {
    throw KernelError(what + " promote_every is " + std::to_string(every) +
                      ", wanted 128 with the f32 accumulator");
  }
  if (every < 0 || every % narrow_group != 0) {
    throw KernelError(what + " promote_every is " + std::to_string(every) +
                      ", wanted a multiple of 32, or 0 for never");
  }
}

/// "Never" as a number that no depth reaches.
int64_t every_of(const Summing& summing) {
  return summing.promote_every == 0
             ? std::numeric_limits<int64_t>::max() / narrow_group * narrow_group
             : summing.promote_every;
}

/// Rows of a times one matrix of blocks.
struct CodeProduct {
  std::string what;
  ConstTensor a, a_scales;
  ConstTensor b, b_scales;
  bool transpose_b;
  Tensor c;
  int64_t a_tile_rows;
  Summing summing;
};

void expect_b(const CodeProduct& x) {
  const int64_t K = x.a.cols(), N = x.c.cols();
  const std::string b = x.what + " b" + (x.transpose_b ? " (transposed)" : "");
  const std::string scales = b + " scales";
  if (x.transpose_b) {
    expect_shape(b.c_str(), x.b, DType::f32, {N, K});
    expect_shape(scales.c_str(), x.b_scales, DType::f32, {blocks_over(N), blocks_over(K)});
  } else {
    expect_shape(b.c_str(), x.b, DType::f32, {K, N});
    expect_shape(scales.c_str(), x.b_scales, DType::f32, {blocks_over(K), blocks_over(N)});
  }
}

void expect_tile_rows(const std::string& what, int64_t tile_rows) {
  if (tile_rows == 1 || tile_rows == scale_depth) return;
  throw KernelError(what + " a_tile_rows is " + std::to_string(tile_rows) + ", wanted 1 or 128");
}

GemmBlock block_of(const CodeProduct& x) {
  const int64_t scale_row = x.b_scales.row_stride;
  GemmBlock block = row_product(x.a, x.b, x.transpose_b, x.c);
  block.scales = {.a = values<float>(x.a_scales),
                  .a_row = x.a_scales.row_stride,
                  .a_block = 1,
                  .a_tile_rows = x.a_tile_rows,
                  .b = values<float>(x.b_scales),
                  .b_col = x.transpose_b ? scale_row : 1,
                  .b_block = x.transpose_b ? 1 : scale_row,
                  .b_tile_cols = scale_depth,
                  .first_row = 0,
                  .first_col = 0,
                  .promote_every = every_of(x.summing)};
  return block;
}

}  // namespace

void gemm_fp8(Queue& queue, const GemmFp8Args& args) {
  const OperatorLabel label("gemm_fp8");
  const CodeProduct product{.what = "gemm_fp8",
                            .a = args.a,
                            .a_scales = args.a_scales,
                            .b = args.b,
                            .b_scales = args.b_scales,
                            .transpose_b = args.transpose_b,
                            .c = args.c,
                            .a_tile_rows = args.a_tile_rows,
                            .summing = {args.accumulator, args.promote_every}};
  const int64_t M = args.a.rows(), K = args.a.cols();
  const int64_t N = args.transpose_b ? args.b.rows() : args.b.cols();
  expect_summing("gemm_fp8", product.summing, queue.device());
  expect_tile_rows("gemm_fp8", args.a_tile_rows);
  expect_shape("gemm_fp8 a", args.a, DType::f32, {M, K});
  expect_shape("gemm_fp8 c", args.c, DType::f32, {M, N});
  expect_shape("gemm_fp8 a scales", args.a_scales, DType::f32,
               {args.a_tile_rows == 1 ? M : blocks_over(M), blocks_over(K)});
  expect_b(product);
  expect_operands("gemm_fp8", {args.a, args.a_scales, args.b, args.b_scales, args.c},
                  queue.device());
  if (queue.is_cuda()) return cuda::multiply_codes(queue, "gemm_fp8", {block_of(product)});
  run_product(queue, block_of(product), function_of(product.summing));
}

void grouped_gemm_fp8(Queue& queue, const GroupedGemmFp8Args& args) {
  const OperatorLabel label("grouped_gemm_fp8");
  const Summing summing{args.accumulator, args.promote_every};
  const int64_t R = args.a.rows(), K = args.a.cols(), N = args.c.cols();
  expect_summing("grouped_gemm_fp8", summing, queue.device());
  expect_tile_rows("grouped_gemm_fp8", args.a_tile_rows);
  expect_shape("grouped_gemm_fp8 a", args.a, DType::f32, {R, K});
  expect_shape("grouped_gemm_fp8 c", args.c, DType::f32, {R, N});
  expect_offsets("grouped_gemm_fp8", args.offsets, args.b.size(), R);
  expect_shape("grouped_gemm_fp8 a scales", args.a_scales, DType::f32,
               {tiles_of_groups(args.offsets, args.a_tile_rows), blocks_over(K)});
  if (args.b_scales.size() != args.b.size()) {
    throw KernelError("grouped_gemm_fp8 has scales of " + std::to_string(args.b_scales.size()) +
                      " matrices b, wanted " + std::to_string(args.b.size()));
  }
  std::vector<GemmBlock> groups;
  groups.reserve(args.b.size());
  int64_t first_tile = 0;
  for (size_t g = 0; g < args.b.size(); ++g) {
    const int64_t first = args.offsets[g], rows = args.offsets[g + 1] - first;
    const int64_t tiles = args.a_tile_rows == 1 ? rows : blocks_over(rows);
    const CodeProduct product{.what = "grouped_gemm_fp8 group " + std::to_string(g),
                              .a = row_range(args.a, first, rows),
                              .a_scales = row_range(args.a_scales, first_tile, tiles),
                              .b = args.b[g],
                              .b_scales = args.b_scales[g],
                              .transpose_b = args.transpose_b,
                              .c = row_range(args.c, first, rows),
                              .a_tile_rows = args.a_tile_rows,
                              .summing = summing};
    expect_b(product);
    expect_operands(product.what.c_str(),
                    {args.a, args.a_scales, args.b[g], args.b_scales[g], args.c}, queue.device());
    groups.push_back(block_of(product));
    first_tile += tiles;
  }
  if (queue.is_cuda()) return cuda::multiply_codes(queue, "grouped_gemm_fp8", groups);
  run_groups(queue, std::move(groups), function_of(summing));
}

void grouped_gemm_weights_fp8(Queue& queue, const GroupedGemmWeightsFp8Args& args) {
  const OperatorLabel label("grouped_gemm_weights_fp8");
  const Summing summing{args.accumulator, args.promote_every};
  const int64_t R = args.a.rows(), M = args.a.cols(), N = args.b.cols();
  expect_summing("grouped_gemm_weights_fp8", summing, queue.device());
  expect_shape("grouped_gemm_weights_fp8 a", args.a, DType::f32, {R, M});
  expect_shape("grouped_gemm_weights_fp8 b", args.b, DType::f32, {R, N});
  expect_offsets("grouped_gemm_weights_fp8", args.offsets, args.c.size(), R);
  const int64_t tiles = tiles_of_groups(args.offsets, scale_depth);
  expect_shape("grouped_gemm_weights_fp8 a scales", args.a_scales, DType::f32, {tiles, M});
  expect_shape("grouped_gemm_weights_fp8 b scales", args.b_scales, DType::f32, {tiles, N});
  std::vector<GemmBlock> groups;
  groups.reserve(args.c.size());
  int64_t first_tile = 0;
  for (size_t g = 0; g < args.c.size(); ++g) {
    const std::string name = "grouped_gemm_weights_fp8 c[" + std::to_string(g) + "]";
    expect_shape(name.c_str(), args.c[g], DType::f32, {M, N});
    const int64_t first = args.offsets[g], rows = args.offsets[g + 1] - first;
    groups.push_back(column_product(row_range(args.a, first, rows),
                                    row_range(args.b, first, rows), args.c[g]));
    groups.back().scales = {
        .a = values<float>(args.a_scales) + first_tile * args.a_scales.row_stride,
        .a_row = 1,
        .a_block = args.a_scales.row_stride,
        .a_tile_rows = 1,
        .b = values<float>(args.b_scales) + first_tile * args.b_scales.row_stride,
        .b_col = 1,
        .b_block = args.b_scales.row_stride,
        .b_tile_cols = 1,
        .first_row = 0,
        .first_col = 0,
        .promote_every = every_of(summing)};
    expect_operands(name.c_str(), {args.a, args.a_scales, args.b, args.b_scales, args.c[g]},
                    queue.device());
    first_tile += blocks_over(rows);
  }
  if (queue.is_cuda()) return cuda::multiply_codes(queue, "grouped_gemm_weights_fp8", groups);
  run_groups(queue, std::move(groups), function_of(summing));
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/gemm/gemm_block.inl"

inline void multiply_codes(const GemmBlock& part) { multiply_block<Codes>(part); }

#endif
