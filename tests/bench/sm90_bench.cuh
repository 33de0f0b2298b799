// What benches of single kernels share: device memory, random numbers, and a flush of L2.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "deploy/bench/kernels/cuda/bench_data.cuh"

namespace troupe::tests {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

/// Device memory of a bench, freed at its end.
template <typename T>
class Device {
 public:
  explicit Device(int64_t count) : count_(count) {
    T* data = nullptr;
    check_cuda(
        cudaMalloc(reinterpret_cast<void**>(&data), static_cast<size_t>(count) * sizeof(T) + 256),
        "memory");
    data_.reset(data, [](T* p) { cudaFree(p); });
  }
  explicit Device(const std::vector<T>& values) : Device(static_cast<int64_t>(values.size())) {
    check_cuda(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
               "copy");
  }
  T* data() const { return data_.get(); }
  int64_t count() const { return count_; }

 private:
  int64_t count_;
  std::shared_ptr<T> data_;
};

/// About normal bfloat16 numbers.
inline Device<uint16_t> normal_bf16(int64_t count, uint32_t seed) {
  Device<uint16_t> out(count);
  deploy::kernel_bench::fill_normal<<<1024, 256>>>(out.data(), count, seed);
  check_cuda(cudaGetLastError(), "fill");
  return out;
}

/// Fills L2 with clean lines of other data.
class Flush {
 public:
  Flush() : data_(256 << 20), out_(1) {
    check_cuda(cudaMemset(data_.data(), 1, static_cast<size_t>(data_.count())), "flush");
  }
  void run(cudaStream_t stream) const {
    deploy::kernel_bench::read_all<<<1056, 512, 0, stream>>>(
        reinterpret_cast<const uint4*>(data_.data()), data_.count() / 16, out_.data());
  }

 private:
  Device<uint8_t> data_;
  Device<uint32_t> out_;
};

}  // namespace troupe::tests
