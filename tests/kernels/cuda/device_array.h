// Arrays in device memory for tests of launchers that take raw pointers, and random numbers to fill
// them with.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::tests {

inline void expect_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

/// Whether there is a device that runs sm_90a code.
inline bool has_hopper() {
  int count = 0, major = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
  expect_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "capability");
  return major == 9;
}

/// Values in device memory, a multiple of 256 bytes behind its beginning.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    expect_cuda(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
                "copy to the device");
  }
  DeviceArray(size_t count, T value) : DeviceArray(std::vector<T>(count, value)) {}
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t size() const { return count_; }

  /// Waits for the device.
  std::vector<T> values() const {
    std::vector<T> out(count_);
    expect_cuda(cudaDeviceSynchronize(), "kernel");
    expect_cuda(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost),
                "copy from the device");
    return out;
  }

 private:
  explicit DeviceArray(size_t count) : count_(count) {
    expect_cuda(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T) + 256), "memory");
  }
  size_t count_;
  T* data_ = nullptr;
};

/// A stream of numbers that a seed names (xorshift64*).
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>(state_ * 0x2545f4914f6cdd1du >> 32);
  }
  int integer(int least, int most) {
    return least + static_cast<int>(next() % static_cast<uint32_t>(most - least + 1));
  }
  /// About normal: the sum of four uniform numbers.
  float normal() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(next()) * 0x1p-32f - 0.5f;
    return sum * 1.7320508f;
  }

 private:
  uint64_t state_;
};

}  // namespace troupe::tests
