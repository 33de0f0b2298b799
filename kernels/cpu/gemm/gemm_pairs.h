// Products whose operands are BF16 numbers, two elements of k at a time (AVX512_BF16).
#pragma once

#include "kernels/cpu/gemm/gemm_block.h"

namespace troupe::kernels::cpu {

/// Whether this processor sums a pair as two FMAs, one behind the other: what the law of products
/// asks for. Needs AVX512_BF16.
bool sums_pairs_in_turn();

/// Whether it sums them well faster than it does the FMAs, so that packing pairs pays; it is timed, in 0.1 ms, when
/// this is asked first. Needs AVX512_BF16. Zen 5 does; a Xeon with AMX does not: steps in BF16 take a fifth longer by pairs there.
bool sums_pairs_faster();

/// Operands rounded to BF16.
void multiply_pairs(const GemmBlock& part);
/// Codes of E4M3, which BF16 holds, with scales.
void multiply_pairs_of_codes(const GemmBlock& part);

}  // namespace troupe::kernels::cpu
