// Routed experts on the rows dispatched to them, and the gradient of their routing weights.
#pragma once

#include <memory>

#include "kernels/layers/ffn.h"

namespace troupe::kernels {

/// Weights of experts in fp8 on tensor cores, quantized once for all units of a step.
struct ExpertCodes;
/// Null where rows of this queue, from a table, do not go in codes (layers/ffn_codes.h).
std::shared_ptr<const ExpertCodes> expert_codes(Queue& queue, const FfnOptions& options,
                                                const std::vector<FfnWeights>& weights);

/// A set of experts and their rows, sorted by expert, (sequence, position) order within one.
struct ExpertsArgs {
  FfnOptions options = {};
  std::vector<FfnWeights> weights;  ///< one an expert, in id order
  std::vector<int64_t> offsets;     ///< rows of each: one more than experts
  ConstTensor x;                    ///< [R, D], rounded as it is dispatched (layers/moe/dispatch.h)
  /// [R] i32, where the queue computes: row r is then x[index[r]], and the gradient's row r likewise.
  ConstTensor index = {};
  std::shared_ptr<const ExpertCodes> codes = nullptr;  ///< of the weights; null: made where they are read
};

struct ExpertsSaved {
  FfnSaved ffn;
  ConstTensor x;      // [R, D]; bf16 in sm_90a; no data where rows go in codes (ffn_codes.h)
  Tensor y;           // [R, D], unweighted: the routing weight's gradient reads it; bf16 in sm_90a
  FfnDeltas deltas;   // after backward for inputs
  Tensor dy;          // [R, D], weighted, likewise; no data as x
};

/// y[r] = expert(x[r]).
ExpertsSaved experts_forward(Queue& queue, Scratch& scratch, const ExpertsArgs& args);

struct ExpertsBackwardArgs {
  ConstTensor dy;       ///< [R, D], or what the index is of: of the combined output, rounded as dispatched
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
