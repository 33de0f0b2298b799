// A stretch of a contiguous tensor: what blocks, and ranges of them, are of a tensor of the state.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace troupe::runtime {

/// Elements [first, first + count), as a vector.
inline kernels::Tensor elements(const kernels::Tensor& all, int64_t first, int64_t count) {
  kernels::Tensor part = all;
  part.data = static_cast<char*>(all.data) + first * kernels::size_of(all.dtype);
  part.rank = 1;
  part.shape = {count};
  part.row_stride = count;
  return part;
}

}  // namespace troupe::runtime
