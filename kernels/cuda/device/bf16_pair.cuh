// Two neighbouring numbers in bfloat16, the first in the lower half of a word.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace troupe::kernels::cuda {

/// To the nearest.
__device__ inline uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ inline float lower_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float upper_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000); }

/// Two neighbouring E4M3 codes times their scale.
__device__ inline uint32_t decoded_pair(uint32_t codes, float scale) {
  const __half2_raw halves =
      __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), __NV_E4M3);
  const float2 v = __half22float2(__half2(halves));
  return bf16_pair(__fmul_rn(v.x, scale), __fmul_rn(v.y, scale));
}

}  // namespace troupe::kernels::cuda
