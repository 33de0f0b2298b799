// FP8 products on Hopper's tensor cores, as launchers over raw device pointers: a in 1 x 128 tiles,
// b in 128 x 128 blocks (forward, gradients of inputs), or both in 1 x 128 tiles (gradients of
// weights).
//
// The order of the arithmetic sm_90a, the same for every M, N, tile and launcher: K is cut into
// chunks (k_chunks_of); in a chunk, for each 128 of K ascending, partial = what the tensor cores
// sum of the 128 products, from zero, in four steps of 32; sum = fma(partial, scale_a * scale_b,
// sum), from +0. The chunks' sums are added ascending, and the total is rounded to bfloat16 once.
//
// Without promotion (`promotes` false), which is there to be compared with: the tensor cores add all
// of K, ascending in steps of 32, to one accumulator, from zero. Before each 128 of K it is multiplied
// by (the scales before) / (the scales of these), scales being scale_a * scale_b: 14 bits of it stay.
// Where that is no number within 2^-100 and 2^100, total = fma(accumulator, scales before, total), from
// +0, and it begins anew at zero. In the end total = fma(accumulator, scales, total). No chunks.
// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.2.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/gemm/product_result.h"

namespace troupe::kernels::cuda {

/// How the inner dimension is cut where few rows leave multiprocessors idle; a function of K alone.
/// At most 4096 a chunk, equal numbers of 128 but for the last.
struct KChunks {
  int count;
  int blocks;  ///< of 128, in each chunk but the last
};
KChunks k_chunks_of(int64_t K);

/// c = a times the transpose of b. Pointers are in device memory, 16-byte aligned.
struct GemmFp8WgmmaArgs {
  const uint8_t* a;         ///< [M, K] e4m3
  const float* a_scales;    ///< [ceil(K / 128), M], rows `a_scales_stride` apart
  int64_t a_scales_stride;  ///< a multiple of 4, at least M
  const uint8_t* b;         ///< [N, K] e4m3
  const float* b_scales;    ///< [ceil(N / 128), ceil(K / 128)], rows `b_scales_stride` apart
  int64_t b_scales_stride;  ///< a multiple of 4, at least ceil(K / 128)
  ProductResult result = ProductResult::bf16;  ///< or f32_of_bf16
  void* c;                                     ///< out: [M, N]
  int64_t c_stride;  ///< a multiple of 8 for bf16, of 4 for f32; at least N
  int64_t M;
  int64_t N;        ///< a multiple of 8
  int64_t K;        ///< a multiple of 16, not 0
  void* workspace;  ///< gemm_fp8_workspace_bytes(K) bytes, for one launch at a time
  bool promotes = true;
};

/// Scratch for sums of chunks: 0 where K is one chunk. Without promotion nothing is read there.
int64_t gemm_fp8_workspace_bytes(int64_t K);

/// Law 1: a row of c depends on its row of a alone, whatever M. Asynchronous on `stream`. Throws
/// KernelError if a size or stride is not as stated or the launch fails.
void gemm_fp8_wgmma(const GemmFp8WgmmaArgs& args, cudaStream_t stream);

/// Products of row ranges with one matrix each: `groups` of them, b and its scales one behind the
/// other. Rows [row_begin[g], row_end[g]) of a and c are group g's: contiguous experts
/// (row_begin = offsets, row_end = offsets + 1) as well as masked ones (g * capacity, and that plus
/// the group's rows). Ranges are read on the device, so a graph may replay with other counts.
struct GroupedGemmFp8WgmmaArgs {
  const uint8_t* a;       ///< [R, K] e4m3
  const float* a_scales;  ///< [ceil(K / 128), R], rows `a_scales_stride` apart
  int64_t a_scales_stride;
  const uint8_t* b;       ///< [groups, N, K] e4m3
  const float* b_scales;  ///< [groups ceil(N / 128), ceil(K / 128)], rows a stride apart
  int64_t b_scales_stride;
  ProductResult result = ProductResult::bf16;  ///< or f32_of_bf16
  void* c;           ///< out: [R, N]; rows of no group are left as they are
  int64_t c_stride;  ///< as in GemmFp8WgmmaArgs
  int64_t R;
  int64_t N;  ///< a multiple of 8
  int64_t K;  ///< a multiple of 16, not 0
  int groups;
  const int32_t* row_begin;  ///< [groups] in device memory; null: one group has all rows
  const int32_t* row_end;    ///< [groups] in device memory
  void* workspace;           ///< as in GemmFp8WgmmaArgs
  bool promotes = true;
};

/// Each element is that of gemm_fp8_wgmma of its group alone.
void grouped_gemm_fp8_wgmma(const GroupedGemmFp8WgmmaArgs& args, cudaStream_t stream);

/// Gradients of weights: c[g] = a[:, range g] times the transpose of b[:, range g]. Both operands
/// are transposed and quantised along the rows of the batch, and each group begins at a multiple of
/// 128 columns, the columns behind its last row zero.
struct GroupedWeightsFp8WgmmaArgs {
  const uint8_t* a;       ///< [M, R] e4m3, R the sum of the groups' padded rows
  const float* a_scales;  ///< [R / 128, M], rows `a_scales_stride` apart
  int64_t a_scales_stride;
  const uint8_t* b;       ///< [N, R] e4m3
  const float* b_scales;  ///< [R / 128, N], rows `b_scales_stride` apart
  int64_t b_scales_stride;
  int64_t M;
  int64_t N;  ///< even
  int64_t R;  ///< a multiple of 128
  int groups;
  const int32_t* block_offsets;  ///< [groups + 1] in device memory: blocks of 128 columns before g
  float* c;                      ///< out: [groups, M, N], zeros of an empty group; or null
  /// Where c is null: [groups, parts] in device memory of sums [M / parts, N] that are added to.
  int64_t* const* sums;
  int parts;             ///< one, or M / parts is a multiple of 128
  FixedPointRule fixed;  ///< of sums
  bool promotes = true;
};

/// A sum has one chain over all of its group's blocks, without chunks.
void grouped_weights_fp8_wgmma(const GroupedWeightsFp8WgmmaArgs& args, cudaStream_t stream);

}  // namespace troupe::kernels::cuda
