// Starts kernels and checks what they were given.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

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

/// `cluster` blocks along x are a cluster; 0: as the kernel is declared.
template <typename Kernel, typename... Args>
void launch(const char* what, Kernel kernel, dim3 grid, int threads, int shared_bytes, int cluster,
            cudaStream_t stream, const Args&... args) {
  expect_launched(what, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             shared_bytes));
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = cluster > 0 ? 1 : 0;
  expect_launched(what, cudaLaunchKernelEx(&config, kernel, args...));
}

}  // namespace troupe::kernels::cuda
