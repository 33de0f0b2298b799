// Descriptors by which Hopper's copy engine (TMA) finds the boxes of a matrix.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace troupe::kernels::cuda {

/// A row-major matrix in device memory and the boxes that one copy brings.
struct BoxedMatrix {
  const void* data;          ///< 16-byte aligned
  CUtensorMapDataType type;  ///< e4m3 counts as UINT8
  int64_t element_bytes;     ///< 1, 2 or 4
  int64_t rows;
  int64_t cols;
  int64_t row_stride;  ///< elements; times element_bytes a multiple of 16
  int box_rows;        ///< at most 256
  int box_cols;        ///< at most 256; 128 bytes where swizzled
  bool swizzled;       ///< by 128 bytes, as wgmma reads
};

/// Boxes that reach beyond the matrix bring zeros there. Throws KernelError, naming `name`, if the
/// driver refuses the matrix.
CUtensorMap tensor_map(const char* name, const BoxedMatrix& matrix);

}  // namespace troupe::kernels::cuda
