#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `embed`. T tokens, vocabulary V, width D.
struct EmbedArgs {
  ConstTensor ids;     ///< [T] i32 in [0, V)
  ConstTensor weight;  ///< [V, D] f32
  Tensor y;            ///< out: [T, D] f32
};

/// y[t] = weight[ids[t]]. An id outside the vocabulary is a KernelError (from the queue).
void embed(Queue& queue, const EmbedArgs& args);

struct EmbedWeightGradientArgs {
  ConstTensor ids;  ///< [T] i32
  ConstTensor dy;   ///< [T, D] f32
  Tensor dweight;   ///< out: [V, D] f32, one unit's gradient: rows added in token order from zero
};

void embed_backward_weights(Queue& queue, const EmbedWeightGradientArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void embed(Queue& queue, const EmbedArgs& args);
void embed_backward_weights(Queue& queue, const EmbedWeightGradientArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
