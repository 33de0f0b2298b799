#pragma once

#include <cstdint>

#include "kernels/arithmetic.h"
#include "kernels/tensor.h"

namespace troupe::deploy {

/// Operations a second of a matrix product: what "mfu" is a share of. FP32 on `threads` threads where
/// it fits the caches, or on the GPU; in the arithmetic sm_90a BF16 on the tensor cores, of numbers
/// without a pattern, for FP8 recipes too. The best of a few tries, about 20 milliseconds in all;
/// with a GPU that wakes up more.
double measure_peak_flops(int threads, kernels::Device device = kernels::Device::cpu,
                          kernels::Arithmetic arithmetic = kernels::Arithmetic::cpu);

/// Bytes of main memory.
int64_t memory_bytes();

}  // namespace troupe::deploy
