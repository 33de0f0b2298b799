#include "deploy/bench/kernels/cuda/fill.h"

#include "deploy/bench/kernels/cuda/bench_data.cuh"
#include "deploy/bench/kernels/cuda/device_array.h"

namespace troupe::deploy::kernel_bench {
namespace {

template <class T>
void fill(T* out, int64_t count, uint32_t seed) {
  fill_normal<<<1024, 256>>>(out, count, seed);
  expect_cuda(cudaGetLastError(), "random numbers");
  expect_cuda(cudaDeviceSynchronize(), "random numbers");
}

}  // namespace

void fill_random(float* out, int64_t count, uint32_t seed) { fill(out, count, seed); }
void fill_random(uint16_t* out, int64_t count, uint32_t seed) { fill(out, count, seed); }
void fill_random(int64_t* out, int64_t count, uint32_t seed) { fill(out, count, seed); }

void launch_flush(const void* data, int64_t bytes, uint32_t* out, cudaStream_t stream) {
  read_all<<<1056, 512, 0, stream>>>(static_cast<const uint4*>(data), bytes / 16, out);
  expect_cuda(cudaGetLastError(), "the flush of L2");
}

}  // namespace troupe::deploy::kernel_bench
