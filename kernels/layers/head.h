// The output head: logits over the vocabulary and their cross entropy. Shared by the main model and
// by MTP, each a site of its own. Large vocabularies go in chunks of rows, so that all logits never
// stand in memory at once.
#pragma once

#include "kernels/layers/gradient.h"

namespace troupe::kernels {

struct HeadArgs {
  ConstTensor weight;   ///< [V, D]
  ConstTensor x;        ///< [T, D], normed
  ConstTensor targets;  ///< [T] i32; -1: no loss
  float scale;          ///< on the loss's gradient: loss weight / the step's predicted tokens
};

struct HeadSaved {
  Tensor losses, log_sums;  // [T]
  Tensor logits;            // [T, V] when it is small enough to keep, else no data
};

HeadSaved head_forward(Queue& queue, Scratch& scratch, const HeadArgs& args);

/// dx is [T, D]. Returns dlogits [T, V] when logits were kept, else no data.
Tensor head_backward_inputs(Queue& queue, Scratch& scratch, const HeadArgs& args,
                            const HeadSaved& saved, const Tensor& dx);
void head_backward_weights(Queue& queue, Scratch& scratch, const HeadArgs& args,
                           const HeadSaved& saved, const Tensor& dlogits,
                           const GradientSum& gradient);

/// Logits [T, V] alone: for generation and scoring.
void head_logits(Queue& queue, const ConstTensor& weight, const ConstTensor& x,
                 const Tensor& logits);

}  // namespace troupe::kernels
