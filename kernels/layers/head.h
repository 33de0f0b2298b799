// The output head: logits over the vocabulary and their cross entropy. Shared by the main model and
// by MTP, each a site of its own. Large vocabularies go in chunks of rows, so that all logits never
// stand in memory at once.
#pragma once

#include "kernels/layers/gradient.h"

namespace troupe::kernels {

constexpr int64_t most_kept_logits = int64_t{1} << 24;  // 64 MiB

struct HeadArgs {
  ConstTensor weight;   ///< [V, D]
  ConstTensor x;        ///< [T, D], normed
  ConstTensor targets;  ///< [T] i32; -1: no loss
  float scale;          ///< on the loss's gradient: loss weight / the step's predicted tokens
  /// Up to so many logits are kept for backward, more are computed again: the bits are the same.
  int64_t kept_logits = most_kept_logits;
};

struct HeadSaved {
  Tensor losses, log_sums;  // [T]
  Tensor logits;            // [T, V] when it is small enough to keep, else no data
};

HeadSaved head_forward(Queue& queue, Scratch& scratch, const HeadArgs& args);

/// dx is [T, D]. Returns dlogits [T, V] when logits were kept, else no data. In the CPU's
/// arithmetic they take the place of the logits.
Tensor head_backward_inputs(Queue& queue, Scratch& scratch, const HeadArgs& args,
                            const HeadSaved& saved, const Tensor& dx);
void head_backward_weights(Queue& queue, Scratch& scratch, const HeadArgs& args,
                           const HeadSaved& saved, const Tensor& dlogits,
                           const GradientSum& gradient);

/// Logits [T, V] alone: for generation and scoring.
void head_logits(Queue& queue, const ConstTensor& weight, const ConstTensor& x,
                 const Tensor& logits);

}  // namespace troupe::kernels
