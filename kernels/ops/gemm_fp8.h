// Products of codes (kernels/ops/rounding.h) that stand in f32 tensors: what FP8 tensor cores compute
// of E4M3 operands with a scale every 128 of the inner dimension.
// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.2 and figure 7.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// What sums the products of codes.
///
/// f32: partial = one chain of FMAs over 128 of k, ascending, from +0; then
/// total = fma(partial, scale_a * scale_b, total), total from +0, blocks ascending ("promotion").
///
/// narrow: as reported of Hopper. 32 products of k and the accumulator are aligned: each is cut,
/// toward zero, to a multiple of 2^(e - 13), e the greatest exponent (floor of log2) among the 33
/// of them. The exact sum of these is cut, toward zero, to 13 fraction bits (14 significant ones)
/// and is the new accumulator. Every `promote_every` of k it is added to the f32 total and begins
/// anew at 0. Where `promote_every` divides 128 this is total = fma(accumulator, scale_a * scale_b,
/// total). Where it does not, one accumulator meets several scales: then each product is multiplied
/// by its scale_a * scale_b, exactly, before it is aligned, and total = total + accumulator.
/// NaN and infinite products give NaN. Slow: for experiments, on the CPU alone.
/// Source: Zhao et al., "Insights into DeepSeek-V3", arXiv:2505.09343, section 3.1.1: 32 products
/// aligned to the greatest exponent, 13 fraction bits kept, registers of 1 + 8 + 13 bits. Whether
/// the accumulator takes part in the alignment it does not say; that it does is our choice, the
/// coarser one.
enum class Accumulator : uint8_t { f32, narrow };

/// Arguments of `gemm_fp8`. op(b) is [K, N]. Codes are numbers that BF16 holds, as those of E4M3 and E5M6 are: of others
/// some instruction sets take the nearest.
struct GemmFp8Args {
  ConstTensor a;         ///< [M, K] f32, codes
  ConstTensor a_scales;  ///< [ceil(M / a_tile_rows), ceil(K / 128)] f32
  ConstTensor b;         ///< [K, N] f32, codes; or [N, K] when transpose_b
  ConstTensor b_scales;  ///< [ceil(K / 128), ceil(N / 128)] f32, the other way when transpose_b
  bool transpose_b;
  Tensor c;                                    ///< out: [M, N] f32
  int64_t a_tile_rows = 1;                     ///< 1, or 128 where a is in blocks: no law 1 then
  Accumulator accumulator = Accumulator::f32;  ///< f32 promotes every 128
  int64_t promote_every = 128;                 ///< a multiple of 32; 0: once, at the end
};

/// Law 1: an element depends on its row of a and its column of b alone. K = 0 gives zeros.
/// Asynchronous. Throws KernelError if a shape, dtype or number is not as stated.
void gemm_fp8(Queue& queue, const GemmFp8Args& args);

/// Products of row ranges with one matrix each, as in `grouped_gemm`.
struct GroupedGemmFp8Args {
  ConstTensor a;                      ///< [R, K] f32, codes
  ConstTensor a_scales;               ///< [R, ceil(K / 128)] f32; with a_tile_rows 128 a group's
                                      ///< tiles begin at its first row (tiles_of_groups of them)
  std::vector<ConstTensor> b;         ///< G of [K, N] f32, codes; or [N, K] when transpose_b
  std::vector<ConstTensor> b_scales;  ///< G, as in GemmFp8Args
  bool transpose_b;
  std::vector<int64_t> offsets;  ///< G + 1 ascending row numbers, first 0, last R
  Tensor c;                      ///< out: [R, N] f32
  int64_t a_tile_rows = 1;
  Accumulator accumulator = Accumulator::f32;
  int64_t promote_every = 128;
};

/// Each element is that of `gemm_fp8` of its group alone.
void grouped_gemm_fp8(Queue& queue, const GroupedGemmFp8Args& args);

/// Weight gradients of groups: c[g] = transpose(a rows of g) times (b rows of g). Both operands are
/// in 128 x 1 tiles that begin anew at each group's first row (TileArgs::offsets), so a block of k
/// is 128 of the group's rows. Without experts: one group.
struct GroupedGemmWeightsFp8Args {
  ConstTensor a;                 ///< [R, M] f32, codes (dy)
  ConstTensor a_scales;          ///< [tiles_of_groups(offsets, 128), M] f32
  ConstTensor b;                 ///< [R, N] f32, codes (x)
  ConstTensor b_scales;          ///< [tiles_of_groups(offsets, 128), N] f32
  std::vector<int64_t> offsets;  ///< G + 1
  std::vector<Tensor> c;         ///< out: G of [M, N] f32; zeros of an empty group
  Accumulator accumulator = Accumulator::f32;
  int64_t promote_every = 128;
};

void grouped_gemm_weights_fp8(Queue& queue, const GroupedGemmWeightsFp8Args& args);

}  // namespace troupe::kernels
