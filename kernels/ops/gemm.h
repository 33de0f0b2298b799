#pragma once

#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `gemm`. op(a) is [M, K], op(b) is [K, N].
struct GemmArgs {
  ConstTensor a;     ///< [M, K] f32, or [K, M] when transpose_a
  ConstTensor b;     ///< [K, N] f32, or [N, K] when transpose_b (a weight as stored: [out, in])
  bool transpose_a;
  bool transpose_b;
  Tensor c;          ///< out: [M, N] f32
  bool add_to_c;     ///< c + product, the product computed from zero first; else the product
};

/// Matrix product. Law 1: each element of the product is one chain of FMAs over k ascending, from
/// +0, whatever M, N, blocking or threads: c_mn = fma(a_mk, b_kn, c_mn) for k = 0 .. K-1.
/// K = 0 gives zeros. Asynchronous. Throws KernelError if a shape or dtype is not as stated.
void gemm(Queue& queue, const GemmArgs& args);

/// What of its operands a product takes: the numbers as they are, or (on the CPU) rounded to BF16 as by `round_bf16`.
enum class Operands : uint8_t { numbers, rounded_to_bf16 };

/// Products of row ranges with one matrix each: rows [offsets[g], offsets[g+1]) of `a` times
/// op(b[g]). For experts: rows sorted by expert, one weight an expert. Groups may be empty.
struct GroupedGemmArgs {
  ConstTensor a;                  ///< [R, K] f32
  std::vector<ConstTensor> b;     ///< G of [K, N] f32, or [N, K] when transpose_b
  bool transpose_b;
  std::vector<int64_t> offsets;   ///< G + 1 ascending row numbers, first 0, last R
  Tensor c;                       ///< out: [R, N] f32
  Operands operands = Operands::numbers;
};

/// Each element is the same chain as in `gemm`, so a row's result is gemm's.
void grouped_gemm(Queue& queue, const GroupedGemmArgs& args);

/// Weight gradients of groups: c[g] = transpose(a rows of g) times (b rows of g); the chain runs
/// over the group's rows in order. An empty group gives zeros.
struct GroupedGemmWeightsArgs {
  ConstTensor a;                 ///< [R, M] f32 (dy)
  ConstTensor b;                 ///< [R, N] f32 (x)
  std::vector<int64_t> offsets;  ///< G + 1
  std::vector<Tensor> c;         ///< out: G of [M, N] f32
  Operands operands = Operands::numbers;
};

void grouped_gemm_weights(Queue& queue, const GroupedGemmWeightsArgs& args);

}  // namespace troupe::kernels
