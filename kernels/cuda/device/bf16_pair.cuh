// Neighbouring numbers in bfloat16: two in a word, the first in the lower half; eight in four words.
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

__device__ inline uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}
__device__ inline void unpack(const uint4& eight, float (&v)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = lower_bf16(word_of(eight, i));
    v[2 * i + 1] = upper_bf16(word_of(eight, i));
  }
}
/// To the nearest.
__device__ inline uint4 packed(const float (&v)[8]) {
  return make_uint4(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7]));
}

/// Two neighbouring E4M3 codes times their scale.
__device__ inline uint32_t decoded_pair(uint32_t codes, float scale) {
  const __half2_raw halves =
      __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), __NV_E4M3);
  const float2 v = __half22float2(__half2(halves));
  return bf16_pair(__fmul_rn(v.x, scale), __fmul_rn(v.y, scale));
}

}  // namespace troupe::kernels::cuda
