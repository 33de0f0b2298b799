#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `cross_entropy`: T rows of logits over a vocabulary V.
struct CrossEntropyArgs {
  ConstTensor logits;   ///< [T, V] f32
  ConstTensor targets;  ///< [T] i32 in [0, V), or -1: the row has no loss
  Tensor losses;        ///< out: [T] f32, -ln softmax(logits)[target], 0 where there is none
  Tensor log_sums;      ///< out: [T] f32, ln sum exp(logits): backward needs it
};

/// The maximum first, then the sum of exp(x - max) over 16 lanes and their tree.
void cross_entropy(Queue& queue, const CrossEntropyArgs& args);

struct CrossEntropyBackwardArgs {
  ConstTensor logits;    ///< [T, V] f32
  ConstTensor targets;   ///< [T] i32
  ConstTensor log_sums;  ///< [T] f32
  float scale;           ///< 1 / the step's number of predicted tokens (times a loss weight)
  Tensor dlogits;        ///< out: [T, V] f32, scale * (softmax - onehot); may be logits
};

void cross_entropy_backward(Queue& queue, const CrossEntropyBackwardArgs& args);

/// sum[0] = scale * (losses added in row order, in f64), rounded to f32 once.
struct SumLossesArgs {
  ConstTensor losses;  ///< [T] f32
  double scale;
  Tensor sum;          ///< out: [1] f32
};

void sum_losses(Queue& queue, const SumLossesArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void cross_entropy(Queue& queue, const CrossEntropyArgs& args);
void cross_entropy_backward(Queue& queue, const CrossEntropyBackwardArgs& args);
void sum_losses(Queue& queue, const SumLossesArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
