// The routing weights' part of backward in the arithmetic sm_90a, of rows in bf16.
#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

struct WeighRowsArgs {
  ConstTensor dy;       ///< [R, D] bf16, of the combined output; with an index [T, D]
  ConstTensor index;    ///< [R] i32 on the GPU: row r is dy[index[r]]; or none
  ConstTensor y;        ///< [R, D] bf16, what the experts gave
  ConstTensor weights;  ///< [R] f32
  Tensor dy_weighted;   ///< out: [R, D] bf16, weights[r] * dy[r]; or none
  Tensor dweights;      ///< out: [R] f32, <dy, y>
};

/// The order of dweights: 32 lanes, lane = (column / 8) mod 32, columns ascending, one FMA chain a
/// lane, then a tree over the lanes, halves first. Asynchronous. An index that names no row is a
/// fault of the queue. Throws KernelError if a shape or dtype is not as stated.
void weigh_rows(Queue& queue, const WeighRowsArgs& args);

}  // namespace troupe::kernels::cuda
