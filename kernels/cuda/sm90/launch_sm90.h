// Starts kernels and checks what they were given.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

/// Of every H100 SXM and H200. With fewer, persistent blocks only take turns.
constexpr int multiprocessors = 132;
constexpr int most_shared_bytes = 227 * 1024;  ///< that a block may ask for, of sm_90

inline void expect_launched(const char* what, cudaError_t error) {
  if (error != cudaSuccess) {
    throw KernelError(std::string(what) + " was not launched: " + cudaGetErrorString(error));
  }
}

inline void expect_multiple(const char* what, int64_t found, int64_t of) {
  if (found <= 0 || found % of != 0) {
    throw KernelError(std::string(what) + " is " + std::to_string(found) +
                      ", wanted a positive multiple of " + std::to_string(of));
  }
}

/// How a kernel is started: `cluster` blocks along x are a cluster; 0: as the kernel is declared. Not copied: `config`
/// points into it.
class LaunchConfig {
 public:
  LaunchConfig(dim3 grid, int threads, int shared_bytes, int cluster, cudaStream_t stream) {
    attribute_.id = cudaLaunchAttributeClusterDimension;
    attribute_.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
    config.gridDim = grid;
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
    config.stream = stream;
    config.attrs = &attribute_;
    config.numAttrs = cluster > 0 ? 1 : 0;
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;

  cudaLaunchConfig_t config{};

 private:
  cudaLaunchAttribute attribute_{};
};

/// Allows a kernel's blocks that much shared memory, and never less again: other threads launch it too, with more.
inline void allow_shared(const char* what, const void* kernel, int shared_bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, int> allowed;  // by device
  int device = 0;
  expect_launched(what, cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  int& most = allowed[{device, kernel}];
  if (shared_bytes <= most) return;
  expect_launched(what, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  most = shared_bytes;
}

template <typename Kernel, typename... Args>
void launch(const char* what, Kernel kernel, dim3 grid, int threads, int shared_bytes, int cluster,
            cudaStream_t stream, const Args&... args) {
  allow_shared(what, reinterpret_cast<const void*>(kernel), shared_bytes);
  const LaunchConfig its(grid, threads, shared_bytes, cluster, stream);
  expect_launched(what, cudaLaunchKernelEx(&its.config, kernel, args...));
}

/// How many clusters of such blocks are on the GPU at once: the grid of a kernel whose blocks stay.
template <typename Kernel>
int clusters_at_once(const char* what, Kernel kernel, int threads, int shared_bytes, int cluster) {
  allow_shared(what, reinterpret_cast<const void*>(kernel), shared_bytes);
  const LaunchConfig its(dim3(static_cast<unsigned>(cluster)), threads, shared_bytes, cluster, nullptr);
  int clusters = 0;
  expect_launched(what, cudaOccupancyMaxActiveClusters(&clusters, kernel, &its.config));
  if (clusters == 0) throw KernelError(std::string(what) + " found no place for a cluster of its blocks");
  return clusters;
}

}  // namespace troupe::kernels::cuda
