// The products of linear layers of FP8 recipes in the arithmetic sm_90a, over tensors and a queue on
// the GPU: what gemm_fp8_wgmma.h has over pointers, for any shape. Numbers are rounded to bfloat16,
// then quantised as quantize_tiles does: rows in 1 x 128 tiles, weights in 128 x 128 blocks, both
// operands of weights' gradients in 128 x 1 tiles that begin anew with each group.
// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.2.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/gemm/matrices_fp8.h"
#include "kernels/layers/gradient.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

struct MultiplyFp8Args {
  ConstTensor a;  ///< [R, K] f32 or bf16
  Fp8Scaling a_scaling;
  Fp8Matrices b;
  std::vector<int64_t> offsets;  ///< G + 1 ascending row numbers, first 0, last R
  Tensor c;                      ///< out: [R, N] bf16, or f32 that were rounded to bf16
  bool promotes = true;          ///< false: see gemm_fp8_wgmma.h
};

/// Rows of each group times its matrix. Law 1: a row depends on its row of a alone. Asynchronous;
/// what it needs besides comes from `scratch`.
void multiply_fp8(Queue& queue, Scratch& scratch, const MultiplyFp8Args& args);

/// The same of operands that are codes already.
struct MultiplyCodesFp8Args {
  Fp8Rows a;    ///< [R, K], K a multiple of 16
  Fp8Blocks b;  ///< for each group
  Fp8Groups groups;
  Tensor c;  ///< out: as in MultiplyFp8Args
  bool promotes = true;
};
void multiply_fp8(Queue& queue, Scratch& scratch, const MultiplyCodesFp8Args& args);

struct MultiplyWeightsFp8Args {
  ConstTensor a;  ///< [R, M] f32 or bf16 (dy)
  Fp8Scaling a_scaling;
  ConstTensor b;  ///< [R, N] f32 or bf16 (x)
  Fp8Scaling b_scaling;
  std::vector<int64_t> offsets;  ///< G + 1
  /// G of [M, N]; or several a group, each for an equal part of a's columns, a multiple of 128. An
  /// empty group adds nothing.
  std::vector<GradientSum> into;
  bool promotes = true;  ///< as in MultiplyFp8Args
};

/// Adds each group's unit, transpose(a) times b, to its fixed-point sum.
void add_weights_fp8(Queue& queue, Scratch& scratch, const MultiplyWeightsFp8Args& args);

/// The same of operands that are codes already.
struct WeightsCodesFp8Args {
  Fp8Columns a;  ///< of [R, M] (dy)
  Fp8Columns b;  ///< of [R, N] (x)
  Fp8Groups groups;
  std::vector<GradientSum> into;  ///< as in MultiplyWeightsFp8Args
  bool promotes = true;
};
void add_weights_fp8(Queue& queue, Scratch& scratch, const WeightsCodesFp8Args& args);

}  // namespace troupe::kernels::cuda
