// BF16 products on Hopper's tensor cores, as launchers over raw device pointers.
//
// The order of the arithmetic sm_90a: one accumulator over all of K, in steps of 16 ascending, as
// the tensor cores sum; the same for every M and N, and for every group.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda/gemm/product_result.h"

namespace troupe::kernels::cuda {

/// c = op(a) times op(b); op(a) is [M, K], op(b) is [K, N]. Forward: b transposed; gradients of
/// inputs: neither; gradients of weights: a transposed, f32 result. Pointers are in device memory,
/// 16-byte aligned, and so are rows: the stored row lengths of a and b are multiples of 8.
struct GemmBf16WgmmaArgs {
  const uint16_t* a;  ///< [M, K] bfloat16, or [K, M] when transpose_a
  const uint16_t* b;  ///< [K, N] bfloat16, or [N, K] when transpose_b
  bool transpose_a;
  bool transpose_b;
  uint16_t* c;   ///< out: [M, N] bfloat16; or null
  float* c_f32;  ///< out: [M, N] f32, where c is null
  int64_t M;
  int64_t N;  ///< a multiple of 8
  int64_t K;  ///< not 0
};

/// Law 1: a row of c depends on its row of op(a) alone, whatever M. Asynchronous on `stream`.
/// Throws KernelError if a size is not as stated or the launch fails. Transposing a but b not is
/// what gradients of weights need; transposing both is not offered.
void gemm_bf16_wgmma(const GemmBf16WgmmaArgs& args, cudaStream_t stream);

constexpr int most_product_groups = 256;  ///< of one launch; launchers make as many as are needed

/// A matrix in device memory, its rows `stride` elements apart.
struct StridedBf16 {
  const uint16_t* data;  ///< 16-byte aligned
  int64_t stride;        ///< a multiple of 8
};

/// Rows [offsets[g], offsets[g + 1]) of a times matrix g of b: experts, or, with one group, any
/// linear layer.
struct RowsBf16WgmmaArgs {
  StridedBf16 a;  ///< [R, K]
  StridedBf16 b;  ///< groups of [N, K] when transpose_b, else of [K, N]
  bool transpose_b;
  int64_t b_group_rows;          ///< rows of b from one group's matrix to the next one's
  std::vector<int64_t> offsets;  ///< groups + 1 ascending row numbers
  ProductResult result;          ///< not fixed_point
  void* c;                       ///< out: [R, N]
  int64_t c_stride;              ///< a multiple of 8 for bf16, else of 2; at least N
  int64_t N;                     ///< columns up to the next such multiple are written as well
  int64_t K;                     ///< not 0; a multiple of 64 for groups that b is not transposed of
};

/// Each element is that of gemm_bf16_wgmma of its group alone.
void rows_bf16_wgmma(const RowsBf16WgmmaArgs& args, cudaStream_t stream);

/// Gradients of weights: c[g] = the transpose of (rows of group g of a) times (those of b).
struct WeightsBf16WgmmaArgs {
  StridedBf16 a;  ///< [R, M]
  StridedBf16 b;  ///< [R, N]
  int64_t R;
  std::vector<int64_t> offsets;  ///< groups + 1 ascending row numbers
  ProductResult result;          ///< f32 or fixed_point
  std::vector<void*> c;          ///< out: groups of [M, N] f32, or of sums; an empty group's stays
  int64_t c_stride;              ///< a multiple of 2, at least N
  int64_t M;
  int64_t N;             ///< if it is odd, one more column is written
  FixedPointRule fixed;  ///< of a fixed_point result
};

/// The rows of K begin with the group's first: as gemm_bf16_wgmma of the group alone.
void weights_bf16_wgmma(const WeightsBf16WgmmaArgs& args, cudaStream_t stream);

}  // namespace troupe::kernels::cuda
