#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `swiglu`: T rows of width F; in the arithmetic sm_90a all of them may be bf16, which
/// results are rounded to.
struct SwigluArgs {
  ConstTensor gate;  ///< [T, F] f32
  ConstTensor up;    ///< [T, F] f32
  Tensor y;          ///< out: [T, F] f32
};

/// y = gate * sigmoid(gate) * up.
void swiglu(Queue& queue, const SwigluArgs& args);

struct SwigluBackwardArgs {
  ConstTensor dy;    ///< [T, F] f32
  ConstTensor gate;  ///< [T, F] f32
  ConstTensor up;    ///< [T, F] f32
  Tensor dgate;      ///< out: [T, F] f32
  Tensor dup;        ///< out: [T, F] f32
};

void swiglu_backward(Queue& queue, const SwigluBackwardArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void swiglu(Queue& queue, const SwigluArgs& args);
void swiglu_backward(Queue& queue, const SwigluBackwardArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
