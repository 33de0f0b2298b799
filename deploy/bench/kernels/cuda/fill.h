// What needs a kernel of the bench's own.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::deploy::kernel_bench {

/// Random numbers, about normal, in device memory; waits for them. Throw std::runtime_error.
void fill_random(float* out, int64_t count, uint32_t seed);
void fill_random(uint16_t* out, int64_t count, uint32_t seed);  ///< bfloat16
void fill_random(int64_t* out, int64_t count, uint32_t seed);   ///< times 2^40

/// Fills L2 with `bytes` of `data`, a multiple of 16; `out` is a number of scratch.
void launch_flush(const void* data, int64_t bytes, uint32_t* out, cudaStream_t stream);

}  // namespace troupe::deploy::kernel_bench
