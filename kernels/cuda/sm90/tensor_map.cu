#include <cuda_runtime.h>

#include <string>

#include "kernels/cuda/sm90/tensor_map.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                            CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                            CUtensorMapFloatOOBfill);

/// From the driver that runs, so that nothing here links against it.
Encode find_encode() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                             12000, cudaEnableDefault, &status);
  if (error != cudaSuccess || status != cudaDriverEntryPointSuccess) {
    throw KernelError(std::string("no cuTensorMapEncodeTiled in the CUDA driver: ") +
                      cudaGetErrorString(error));
  }
  return reinterpret_cast<Encode>(found);
}

/// The driver's functions want the runtime's context, which a thread has only when it has called
/// the runtime.
void bind_context() {
  thread_local const cudaError_t bound = [] {
    int device = 0;
    const cudaError_t error = cudaGetDevice(&device);
    return error == cudaSuccess ? cudaSetDevice(device) : error;
  }();
  if (bound != cudaSuccess) {
    throw KernelError(std::string("no CUDA context: ") + cudaGetErrorString(bound));
  }
}

}  // namespace

CUtensorMap tensor_map(const char* name, const BoxedMatrix& matrix) {
  static const Encode encode = find_encode();
  bind_context();
  CUtensorMap map{};
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(matrix.cols),
                               static_cast<cuuint64_t>(matrix.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(matrix.row_stride * matrix.element_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(matrix.box_cols),
                             static_cast<cuuint32_t>(matrix.box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      encode(&map, matrix.type, 2, const_cast<void*>(matrix.data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE,
             matrix.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw KernelError(std::string(name) + " of " + std::to_string(matrix.rows) + " x " +
                      std::to_string(matrix.cols) + ", row stride " +
                      std::to_string(matrix.row_stride) +
                      " cannot be copied in boxes (driver error " + std::to_string(result) +
                      "), wanted a base and rows of multiples of 16 bytes");
  }
  return map;
}

}  // namespace troupe::kernels::cuda
