// Memory of the GPU for operands and results.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/device/device.h"
#include "kernels/tensor.h"

namespace troupe::deploy::kernel_bench {

inline void expect_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

/// `count` values, not initialised, 256-byte aligned. Copies share the memory, which goes with the last of them.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t count) : count_(count) {
    const size_t bytes = std::max<size_t>(static_cast<size_t>(count) * sizeof(T), 1);
    void* const memory = kernels::cuda::allocate_device(bytes);
    if (memory == nullptr) throw std::runtime_error("the GPU has no room for " + std::to_string(bytes) + " bytes");
    data_.reset(static_cast<T*>(memory), [](T* data) { kernels::cuda::free_device(data); });
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(static_cast<int64_t>(values.size())) {
    kernels::cuda::copy_bytes(data(), values.data(), values.size() * sizeof(T));
  }
  static DeviceArray zeros(int64_t count) {
    DeviceArray array(count);
    kernels::cuda::zero_bytes(array.data(), static_cast<size_t>(count) * sizeof(T));
    return array;
  }

  T* data() const { return data_.get(); }
  int64_t count() const { return count_; }

  /// `count` of them on the host from `first` on, at most those that are there; what writes them has ended.
  std::vector<T> part(int64_t first, int64_t count) const {
    std::vector<T> values(static_cast<size_t>(std::min(count, count_ - first)));
    kernels::cuda::copy_bytes(values.data(), data() + first, values.size() * sizeof(T));
    return values;
  }

  kernels::Tensor tensor(std::initializer_list<int64_t> shape) const {
    kernels::Tensor tensor = kernels::tensor(data(), shape);
    tensor.device = kernels::Device::cuda;
    return tensor;
  }

 private:
  int64_t count_;
  std::shared_ptr<T> data_;
};

}  // namespace troupe::deploy::kernel_bench
