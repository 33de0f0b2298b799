// Which instruction set the CPU kernels use. All of them give the same bits (arithmetic `cpu`).
#pragma once

#include <vector>

namespace troupe::kernels::cpu {

/// avx512_bf16: AVX-512, and products of BF16 numbers in pairs, on processors that sum them as two FMAs.
enum class Isa { portable, avx2, avx512, avx512_bf16 };
const char* to_string(Isa isa);

/// The fastest one of this machine, or the one last forced.
Isa current_isa();
std::vector<Isa> available_isas();

/// For tests and comparisons: throws KernelError if the machine lacks it.
void force_isa(Isa isa);

}  // namespace troupe::kernels::cpu
