#include <algorithm>
#include <string>

#include "kernels/cuda/gemm/gemm_fp8_few_rows.cuh"
#include "kernels/cuda/gemm/gemm_fp8_tiles.cuh"
#include "kernels/cuda/gemm/gemm_fp8_weights.cuh"
#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"
#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/tensor_map.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

namespace {

constexpr int most_few_rows = 128;
constexpr int most_cluster = 8;

int64_t blocks_over(int64_t n, int64_t block) { return (n + block - 1) / block; }

CUtensorMap codes_map(const char* name, const uint8_t* codes, int64_t rows, int64_t cols,
                      int box_rows) {
  return tensor_map(name, {.data = codes,
                           .type = CU_TENSOR_MAP_DATA_TYPE_UINT8,
                           .element_bytes = 1,
                           .rows = rows,
                           .cols = cols,
                           .row_stride = cols,
                           .box_rows = box_rows,
                           .box_cols = 128,
                           .swizzled = true});
}

CUtensorMap scales_map(const char* name, const float* scales, int64_t k_blocks, int64_t cols,
                       int64_t stride, int box_cols) {
  return tensor_map(name, {.data = scales,
                           .type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                           .element_bytes = 4,
                           .rows = k_blocks,
                           .cols = cols,
                           .row_stride = stride,
                           .box_rows = 1,
                           .box_cols = box_cols,
                           .swizzled = false});
}

CUtensorMap b_scales_map(const GroupedGemmFp8WgmmaArgs& x) {
  return tensor_map("gemm_fp8_wgmma b_scales", {.data = x.b_scales,
                                                .type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                                                .element_bytes = 4,
                                                .rows = x.groups * blocks_over(x.N, 128),
                                                .cols = blocks_over(x.K, 128),
                                                .row_stride = x.b_scales_stride,
                                                .box_rows = 1,
                                                .box_cols = 4,
                                                .swizzled = false});
}

template <Share kShare, bool kListed, typename Result, bool kPromotes>
void run_tiles(const GroupedGemmFp8WgmmaArgs& x, cudaStream_t stream) {
  static_assert(Fp8Ring::bytes <= most_shared_bytes);
  const int64_t k_blocks = blocks_over(x.K, 128);
  const bool share_b = kShare == Share::b;
  const CUtensorMap a = codes_map("gemm_fp8_wgmma a", x.a, x.R, x.K, share_b ? 128 : 64);
  const CUtensorMap b = codes_map("gemm_fp8_wgmma b", x.b, x.N * x.groups, x.K, share_b ? 64 : 128);
  const CUtensorMap a_scales = scales_map("gemm_fp8_wgmma a_scales", x.a_scales, k_blocks, x.R,
                                          x.a_scales_stride, Fp8Ring::a_scales_box);
  const Fp8TilesArgs args{.groups = {x.row_begin, x.row_end, x.groups, static_cast<int>(x.R)},
                          .cols = static_cast<int>(x.N),
                          .k_blocks = static_cast<int>(k_blocks),
                          .chunk_blocks = kPromotes ? k_chunks_of(x.K).blocks : static_cast<int>(k_blocks),
                          .c = x.c,
                          .c_stride = x.c_stride,
                          .sums = static_cast<float4*>(x.workspace)};
  launch("gemm_fp8_wgmma", fp8_tiles<kShare, kListed, Result, kPromotes>, dim3(multiprocessors), 384,
         Fp8Ring::bytes, 0, stream, a, b, a_scales, b_scales_map(x), args);
}

template <Share kShare, bool kListed, typename Result>
void run_tiles(const GroupedGemmFp8WgmmaArgs& x, cudaStream_t stream) {
  if (x.promotes) {
    run_tiles<kShare, kListed, Result, true>(x, stream);
  } else {
    run_tiles<kShare, kListed, Result, false>(x, stream);
  }
}

template <Share kShare, bool kListed>
void run_tiles(const GroupedGemmFp8WgmmaArgs& x, cudaStream_t stream) {
  if (x.result == ProductResult::bf16) {
    run_tiles<kShare, kListed, __nv_bfloat16>(x, stream);
  } else {
    run_tiles<kShare, kListed, RoundedBf16>(x, stream);
  }
}

template <typename Shape>
void run_few_rows(const GroupedGemmFp8WgmmaArgs& x, const KChunks& chunks, cudaStream_t stream) {
  const int64_t k_blocks = blocks_over(x.K, 128);
  const CUtensorMap a = codes_map("gemm_fp8_wgmma a", x.a, x.R, x.K, Shape::rows);
  const CUtensorMap b = codes_map("gemm_fp8_wgmma b", x.b, x.N, x.K, few_rows_cols);
  const CUtensorMap a_scales = scales_map("gemm_fp8_wgmma a_scales", x.a_scales, k_blocks, x.R,
                                          x.a_scales_stride, Shape::rows);
  const Fp8FewRowsArgs args{.rows = static_cast<int>(x.R),
                            .cols = static_cast<int>(x.N),
                            .k_blocks = static_cast<int>(k_blocks),
                            .chunk_blocks = chunks.blocks,
                            .c = x.c,
                            .c_stride = x.c_stride,
                            .is_f32 = x.result == ProductResult::f32_of_bf16};
  const dim3 grid(static_cast<unsigned>(chunks.count),
                  static_cast<unsigned>(blocks_over(x.N, few_rows_cols)));
  launch("gemm_fp8_wgmma", fp8_few_rows<Shape>, grid, Shape::threads, Shape::bytes, chunks.count,
         stream, a, b, a_scales, b_scales_map(x), args);
}

void run_few_rows(const GroupedGemmFp8WgmmaArgs& x, const KChunks& chunks, cudaStream_t stream) {
  if (x.R <= 16) return run_few_rows<Fp8FewRowsShape<16, 16, 10, 2>>(x, chunks, stream);
  if (x.R <= 32) return run_few_rows<Fp8FewRowsShape<32, 32, 8, 2>>(x, chunks, stream);
  if (x.R <= 64) return run_few_rows<Fp8FewRowsShape<64, 32, 6, 2>>(x, chunks, stream);
  run_few_rows<Fp8FewRowsShape<128, 64, 8, 1>>(x, chunks, stream);
}

void expect_sizes(const GroupedGemmFp8WgmmaArgs& x) {
  expect_multiple("gemm_fp8_wgmma N", x.N, 8);
  expect_multiple("gemm_fp8_wgmma K", x.K, 16);
  expect_multiple("gemm_fp8_wgmma a_scales_stride", x.a_scales_stride, 4);
  expect_multiple("gemm_fp8_wgmma b_scales_stride", x.b_scales_stride, 4);
  expect_multiple("gemm_fp8_wgmma c_stride", x.c_stride, x.result == ProductResult::bf16 ? 8 : 4);
  if (x.result != ProductResult::bf16 && x.result != ProductResult::f32_of_bf16) {
    throw KernelError("gemm_fp8_wgmma result is neither bf16 nor f32_of_bf16");
  }
  if (x.b_scales_stride < blocks_over(x.K, 128)) {
    throw KernelError("gemm_fp8_wgmma b_scales_stride is " + std::to_string(x.b_scales_stride) +
                      ", wanted at least " + std::to_string(blocks_over(x.K, 128)));
  }
  if (x.a_scales_stride < x.R) {
    throw KernelError("gemm_fp8_wgmma a_scales_stride is " + std::to_string(x.a_scales_stride) +
                      ", wanted at least M " + std::to_string(x.R));
  }
  if (x.promotes && k_chunks_of(x.K).count > 1 && x.workspace == nullptr) {
    throw KernelError("gemm_fp8_wgmma has no workspace, wanted one for K " + std::to_string(x.K));
  }
}

}  // namespace

KChunks k_chunks_of(int64_t K) {
  const int64_t count = std::max<int64_t>(1, blocks_over(K, 4096));
  const int64_t blocks = blocks_over(blocks_over(K, 128), count);
  return {static_cast<int>(count), static_cast<int>(blocks)};
}

int64_t gemm_fp8_workspace_bytes(int64_t K) {
  return k_chunks_of(K).count == 1 ? 0 : int64_t{multiprocessors} * 256 * 64 * 4;
}

void gemm_fp8_wgmma(const GemmFp8WgmmaArgs& args, cudaStream_t stream) {
  grouped_gemm_fp8_wgmma({.a = args.a,
                          .a_scales = args.a_scales,
                          .a_scales_stride = args.a_scales_stride,
                          .b = args.b,
                          .b_scales = args.b_scales,
                          .b_scales_stride = args.b_scales_stride,
                          .result = args.result,
                          .c = args.c,
                          .c_stride = args.c_stride,
                          .R = args.M,
                          .N = args.N,
                          .K = args.K,
                          .groups = 1,
                          .row_begin = nullptr,
                          .row_end = nullptr,
                          .workspace = args.workspace,
                          .promotes = args.promotes},
                         stream);
}

void grouped_gemm_fp8_wgmma(const GroupedGemmFp8WgmmaArgs& args, cudaStream_t stream) {
  if (args.R == 0 || args.groups == 0) return;
  expect_sizes(args);
  if (args.row_begin != nullptr) return run_tiles<Share::a, true>(args, stream);
  const KChunks chunks = k_chunks_of(args.K);
  if (args.promotes && args.R <= most_few_rows && chunks.count <= most_cluster) {
    // From 65 rows on the tensor cores are busy enough, if tiles of 128 columns alone fill the GPU.
    const bool fills = args.R > 64 && chunks.count == 1 && args.N >= 128 * multiprocessors;
    return fills ? run_tiles<Share::a, false>(args, stream) : run_few_rows(args, chunks, stream);
  }
  run_tiles<Share::b, false>(args, stream);
}

void grouped_weights_fp8_wgmma(const GroupedWeightsFp8WgmmaArgs& x, cudaStream_t stream) {
  if (x.groups == 0) return;
  expect_multiple("grouped_weights_fp8_wgmma N", x.N, 2);
  expect_multiple("grouped_weights_fp8_wgmma R", x.R, 128);
  expect_multiple("grouped_weights_fp8_wgmma a_scales_stride", x.a_scales_stride, 4);
  expect_multiple("grouped_weights_fp8_wgmma b_scales_stride", x.b_scales_stride, 4);
  expect_multiple("grouped_weights_fp8_wgmma M", x.M, x.parts > 1 ? 128 * x.parts : 1);
  const char* what = "grouped_weights_fp8_wgmma";
  const int64_t k_blocks = x.R / 128;
  const CUtensorMap a = codes_map(what, x.a, x.M, x.R, 128);
  const CUtensorMap b = codes_map(what, x.b, x.N, x.R, 64);
  const CUtensorMap a_scales = scales_map(what, x.a_scales, k_blocks, x.M, x.a_scales_stride, 128);
  const CUtensorMap b_scales = scales_map(what, x.b_scales, k_blocks, x.N, x.b_scales_stride, 128);
  const Fp8WeightsArgs args{.groups = x.groups,
                            .rows = static_cast<int>(x.M),
                            .cols = static_cast<int>(x.N),
                            .block_offsets = x.block_offsets,
                            .c = x.c,
                            .sums = x.sums,
                            .parts = x.parts,
                            .fixed = x.fixed};
  const auto kernel = [&]<typename Result>(Result) {
    return x.promotes ? fp8_weights<Result, true> : fp8_weights<Result, false>;
  };
  launch(what, x.c != nullptr ? kernel(float{}) : kernel(FixedPoint{}), dim3(multiprocessors), 384,
         weights_bytes, 0, stream, a, b, a_scales, b_scales, args);
}

}  // namespace troupe::kernels::cuda
