// The narrow accumulator of gemm_fp8.h.
#pragma once

#include "kernels/cpu/gemm/gemm_block.h"

namespace troupe::kernels::cpu {

/// Products that are added to the accumulator at a time.
constexpr int64_t narrow_group = 32;

/// 32 products, or fewer, added to an accumulator: the new one. Products and accumulator are
/// exact in f64.
double add_narrow(double accumulator, const double* products, int64_t count);

/// A part of a product of codes; `scales.promote_every` is a multiple of 32.
void multiply_narrow(const GemmBlock& g);

}  // namespace troupe::kernels::cpu
