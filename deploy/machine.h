#pragma once

#include <cstdint>

namespace troupe::deploy {

/// FP32 operations a second of a matrix product that fits the caches, on `threads` threads: what
/// "mfu" is a share of. The best of a few tries, about 20 milliseconds in all.
double measure_peak_flops(int threads);

/// Bytes of main memory.
int64_t memory_bytes();

}  // namespace troupe::deploy
