// BF16 products on Hopper's tensor cores, as launchers over raw device pointers.
//
// The order of the arithmetic sm_90a: one accumulator over all of K, in steps of 16 ascending, as
// the tensor cores sum; the same for every M and N.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

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

}  // namespace troupe::kernels::cuda
