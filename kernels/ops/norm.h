#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `rms_norm`. T rows of width D.
struct RmsNormArgs {
  ConstTensor x;       ///< [T, D] f32
  ConstTensor weight;  ///< [D] f32
  float eps;           ///< added to the mean square (1e-6 in the released model)
  Tensor y;            ///< out: [T, D] f32; may be x
  Tensor inverse_rms;  ///< out: [T] f32, 1 / sqrt(mean(x^2) + eps): backward needs it
};

/// y = x * inverse_rms * weight, row by row. The mean square takes 16 lanes by FMA and their tree.
/// Asynchronous. Throws KernelError if a shape or dtype is not as stated.
/// Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
void rms_norm(Queue& queue, const RmsNormArgs& args);

struct RmsNormBackwardArgs {
  ConstTensor dy;           ///< [T, D] f32
  ConstTensor x;            ///< [T, D] f32, the input of forward
  ConstTensor weight;       ///< [D] f32
  ConstTensor inverse_rms;  ///< [T] f32
  ConstTensor residual = {};  ///< [T, D] f32: the gradient that passes beside the norm; no data: none
  /// [T, D] bf16, added to dy as it is read: in the arithmetic sm_90a, where dy is bf16 too; no data: none.
  ConstTensor dy_more = {};
  Tensor dx;                  ///< out: [T, D] f32; may be dy
};

/// dx = residual + inverse_rms * (weight * dy - x * inverse_rms^2 * mean(weight * dy * x)).
void rms_norm_backward_inputs(Queue& queue, const RmsNormBackwardArgs& args);

struct RmsNormWeightGradientArgs {
  ConstTensor dy;           ///< [T, D] f32
  ConstTensor x;            ///< [T, D] f32
  ConstTensor inverse_rms;  ///< [T] f32
  ConstTensor dy_more = {};  ///< as in RmsNormBackwardArgs
  Tensor dweight;           ///< out: [D] f32, one unit's gradient: rows added in order from zero
};

void rms_norm_backward_weights(Queue& queue, const RmsNormWeightGradientArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void rms_norm(Queue& queue, const RmsNormArgs& args);
void rms_norm_backward_inputs(Queue& queue, const RmsNormBackwardArgs& args);
void rms_norm_backward_weights(Queue& queue, const RmsNormWeightGradientArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
