// What rows that an operator takes are made of.
#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cpu {

/// The type wanted of `t`: f32; or bf16 where it is that and the queue is of the arithmetic sm_90a.
inline DType row_type(const Queue& queue, const ConstTensor& t) {
  const bool may_be_narrow = queue.arithmetic() == Arithmetic::sm_90a;
  return may_be_narrow && t.dtype == DType::bf16 ? DType::bf16 : DType::f32;
}

}  // namespace troupe::kernels::cpu
