#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace troupe::deploy {

/// FP32 operations a second of a matrix product, on `threads` threads where it fits the caches, or on
/// the GPU: what "mfu" is a share of. The best of a few tries, about 20 milliseconds in all.
double measure_peak_flops(int threads, kernels::Device device = kernels::Device::cpu);

/// Bytes of main memory.
int64_t memory_bytes();

}  // namespace troupe::deploy
