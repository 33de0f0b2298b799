// Routed experts on the rows dispatched to them, and the gradient of their routing weights.
#pragma once

#include "kernels/layers/ffn.h"

namespace troupe::kernels {

/// A set of experts and their rows, sorted by expert, (sequence, position) order within one.
struct ExpertsArgs {
  FfnOptions options = {};
  std::vector<FfnWeights> weights;  ///< one an expert, in id order
  std::vector<int64_t> offsets;     ///< rows of each: one more than experts
  ConstTensor x;                    ///< [R, D], rounded as it is dispatched (layers/moe/dispatch.h)
};

struct ExpertsSaved {
  FfnSaved ffn;
  ConstTensor x;      // [R, D]; bf16 in sm_90a
  Tensor y;           // [R, D], unweighted: the routing weight's gradient reads it; bf16 in sm_90a
  FfnDeltas deltas;   // after backward for inputs
  Tensor dy;          // [R, D], weighted, likewise
};

/// y[r] = expert(x[r]).
ExpertsSaved experts_forward(Queue& queue, Scratch& scratch, const ExpertsArgs& args);

struct ExpertsBackwardArgs {
  ConstTensor dy;       ///< [R, D], of the combined output; rounded as it is dispatched
  ConstTensor weights;  ///< [R], routing weight of each row
  Tensor dx;            ///< out: [R, D]; may be `saved.y`, which is read before
  Tensor dweights;      ///< out: [R], <dy, y>
};

void experts_backward_inputs(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                             ExpertsSaved& saved, const ExpertsBackwardArgs& backward);
void experts_backward_weights(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                              const ExpertsSaved& saved,
                              const std::vector<FfnGradients>& gradients);

}  // namespace troupe::kernels
