// The products of linear layers in the arithmetic sm_90a, over tensors and a queue on the GPU: what
// gemm_bf16_wgmma.h has over pointers, for any shape. Operands are packed as bfloat16, in rows of a
// multiple of 8 numbers, unless they are already.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "kernels/layers/gradient.h"
#include "kernels/ops/fixed_point.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

/// x [T, D], f32 or bf16, as products read it: itself, or a copy that was rounded to the nearest
/// bfloat16.
ConstTensor bf16_operand(Queue& queue, Scratch& scratch, const ConstTensor& x);
/// Memory for such a copy, and the copy.
Tensor bf16_place(Scratch& scratch, int64_t rows, int64_t cols);
void pack_bf16(Queue& queue, const ConstTensor& x, const Tensor& y);
/// The same at once, as copy_now (kernels/buffer.h): x [T, D] f32 on the GPU.
void pack_now(const ConstTensor& x, const Tensor& y);
/// Matrices of one shape, of which `wanted[g]` are read; where any of them is packed they lie one
/// behind the other.
std::vector<ConstTensor> bf16_operands(Queue& queue, Scratch& scratch,
                                       const std::vector<ConstTensor>& matrices,
                                       const std::vector<int64_t>& offsets);

struct MultiplyBf16Args {
  ConstTensor a;               ///< [R, K] bf16, an operand
  std::vector<ConstTensor> b;  ///< G of [N, K], or of [K, N] unless transpose_b; operands
  bool transpose_b;
  std::vector<int64_t> offsets;  ///< G + 1 ascending row numbers, first 0, last R
  bool rounds;                   ///< c in f32 gets numbers that were rounded to bf16
  Tensor c;                      ///< out: [R, N] bf16 or f32
};

/// Rows of each group times its matrix. Law 1: a row depends on its row of a alone. Asynchronous;
/// what it needs besides comes from `scratch`.
void multiply_bf16(Queue& queue, Scratch& scratch, const MultiplyBf16Args& args);

struct MultiplyWeightsBf16Args {
  ConstTensor a;                  ///< [R, M] bf16, an operand (dy)
  ConstTensor b;                  ///< [R, N] bf16, an operand (x)
  std::vector<int64_t> offsets;   ///< G + 1
  std::vector<GradientSum> into;  ///< G of [M, N]; an empty group adds nothing
};

/// Adds each group's unit, transpose(a) times b, to its fixed-point sum: from the accumulators
/// where nobody watches, else by way of f32. The same bits.
void add_weights_bf16(Queue& queue, Scratch& scratch, const MultiplyWeightsBf16Args& args);

/// sum = the rows of `parts` [n, count] f32, added ascending from +0; sum [count] f32.
void add_parts(Queue& queue, const ConstTensor& parts, const Tensor& sum);

}  // namespace troupe::kernels::cuda
