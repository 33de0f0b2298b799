#include "tests/kernels/cuda/sm90/every_number.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/sm90/quick_math.cuh"
#include "kernels/cuda/sm90/tile_codes.cuh"

namespace troupe::tests {
namespace {

using namespace kernels::cuda;

void expect(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

/// Runs `kernel` on a number that begins as zero.
template <class T, class Kernel>
T counted(unsigned blocks, Kernel kernel) {
  T* found = nullptr;
  T out{};
  expect(cudaMalloc(&found, sizeof out));
  expect(cudaMemset(found, 0, sizeof out));
  kernel<<<blocks, 256>>>(found);
  expect(cudaGetLastError());
  expect(cudaMemcpy(&out, found, sizeof out, cudaMemcpyDefault));
  expect(cudaFree(found));
  return out;
}

__device__ uint32_t code_of(float x) { return codes_of(x, 0, 0, 0); }

/// A thread a mantissa of the scale.
__global__ void wrong_codes_kernel(unsigned long long* wrong) {
  const uint32_t mantissa = blockIdx.x * blockDim.x + threadIdx.x;
  const float scale = __uint_as_float(0x3f800000 | mantissa);
  const Inverse inverse = inverse_of(scale);
  unsigned long long found = 0;
  for (uint32_t exponent = 127 - 13; exponent <= 127 + 9; ++exponent) {  // from below the least code to the greatest
    for (uint32_t m = 0; m < 128; ++m) {
      const float x = __uint_as_float(exponent << 23 | m << 16);
      found += code_of(divided(x, inverse)) != code_of(__fdiv_rn(x, scale));
      found += code_of(divided(-x, inverse)) != code_of(__fdiv_rn(-x, scale));
    }
  }
  found += code_of(divided(0.0f, inverse)) != 0;
  found += code_of(divided(-0.0f, inverse)) != 0x80;
  if (found != 0) atomicAdd(wrong, found);
}

/// A thread a bfloat16.
__global__ void sigmoids_kernel(int* furthest) {
  const uint32_t bits = blockIdx.x * blockDim.x + threadIdx.x;
  if ((bits & 0x7fff) > quick_limit) return;
  const float x = __uint_as_float(bits << 16);
  atomicMax(furthest, abs(__float_as_int(quick_sigmoid(x)) - __float_as_int(sigmoid(set1(x)).v)));
}

}  // namespace

uint64_t wrong_codes_of_quotients() { return counted<unsigned long long>((1u << 23) / 256, wrong_codes_kernel); }

int error_of_quick_sigmoid() { return counted<int>(65536 / 256, sigmoids_kernel); }

}  // namespace troupe::tests
