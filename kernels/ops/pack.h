// Rows as they travel between processes: in fewer bytes where the numbers are exact in them.
#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

struct PackRowsArgs {
  ConstTensor x;  ///< [R, D] f32, numbers of y's format; others are rounded to the nearest
  Tensor y;       ///< out: [R, D] bf16 or f8_e4m3
};

/// Asynchronous. Throws KernelError if a shape or dtype is not as stated.
void pack_rows(Queue& queue, const PackRowsArgs& args);

struct UnpackRowsArgs {
  ConstTensor x;         ///< [R, D] bf16 or f8_e4m3
  ConstTensor scales;    ///< [R, ceil(D / tile)] f32, or no data: all 1
  int64_t tile = 128;    ///< columns that share a scale
  Tensor y;              ///< out: [R, D] f32, number times scale
};

void unpack_rows(Queue& queue, const UnpackRowsArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void pack_rows(Queue& queue, const PackRowsArgs& args);
void unpack_rows(Queue& queue, const UnpackRowsArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
