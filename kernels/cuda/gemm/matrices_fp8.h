// Matrices of FP8 products: in 128 x 128 blocks of E4M3 codes, quantised as quantize_tiles does.
// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.2.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/gemm/operands_fp8.h"

namespace troupe::kernels::cuda {

/// A matrix for each group of rows. One that no row meets need not be there to be read.
struct Fp8Matrices {
  std::vector<ConstTensor> b;  ///< G of [N, K], or of [K, N] unless transpose; f32 or bf16
  Fp8Scaling scaling;
  bool transpose;
};

/// As a product reads them: [N, K] each, N and K up to multiples of 16, one behind the other.
struct Fp8Blocks {
  Tensor codes;   ///< [G N, K] f8_e4m3
  Tensor scales;  ///< [G tiles over N, tiles over K up to a multiple of 4] f32
  int64_t N, K;
};
/// offsets: G + 1 row numbers.
Fp8Blocks quantize_matrices(Queue& queue, Scratch& scratch, const Fp8Matrices& matrices,
                            const std::vector<int64_t>& offsets);

/// For both products that a matrix has, forward (transpose) and backward.
struct Fp8BothWays {
  Fp8Blocks forward, backward;
};
/// All of the matrices, each read once; `transpose` of them says nothing.
Fp8BothWays quantize_both_ways(Queue& queue, Scratch& scratch, const Fp8Matrices& matrices);

/// What a quantizer reads: x in bf16 in whole sixteens of columns, of which those behind the last of
/// x are 0. It may be x itself.
ConstTensor fp8_source(Queue& queue, Scratch& scratch, const ConstTensor& x);

}  // namespace troupe::kernels::cuda
