// Kernels around what is measured: random numbers, and other data into L2.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::deploy::kernel_bench {

/// About normal: a sum of four uniform numbers, of a hash of (seed, i) by the finaliser of SplitMix64.
__device__ inline float normal(uint32_t seed, int64_t i) {
  uint64_t x = (static_cast<uint64_t>(seed) << 40) + static_cast<uint64_t>(i);
  float sum = 0;
  for (int j = 0; j < 2; ++j) {
    x += 0x9e3779b97f4a7c15u;
    uint64_t z = x;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    sum += static_cast<float>(static_cast<uint32_t>(z)) * 0x1p-32f +
           static_cast<float>(static_cast<uint32_t>(z >> 32)) * 0x1p-32f - 1.0f;
  }
  return sum * 1.7320508f;
}

/// T: float; uint16_t, a bfloat16; or int64_t, integers of about 2^40.
template <class T>
__global__ void fill_normal(T* out, int64_t count, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const float value = normal(seed, i);
    if constexpr (sizeof(T) == 2) {
      out[i] = __bfloat16_as_ushort(__float2bfloat16_rn(value));
    } else if constexpr (sizeof(T) == 8) {
      out[i] = __float2ll_rn(value * 0x1p40f);
    } else {
      out[i] = value;
    }
  }
}

/// Reads everything: clean lines of it fill L2.
static __global__ void read_all(const uint4* data, int64_t count, uint32_t* out) {
  uint32_t sum = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const uint4 v = __ldg(data + i);
    sum += v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x12345678) *out = sum;
}

}  // namespace troupe::deploy::kernel_bench
