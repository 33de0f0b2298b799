// The router's arithmetic: affinities, choice, and who gets which row. Report section 2.1.2.
#pragma once

#include <vector>

#include "kernels/layers/gradient.h"
#include "kernels/layers/params.h"

namespace troupe::kernels {

struct GateForwardArgs {
  const ModelShape* shape;
  ConstTensor weight;  ///< [E, D]
  ConstTensor bias;    ///< [E] f32
  ConstTensor x;       ///< [T, D], normed
};

struct GateSaved {
  Tensor scores;      // [T, E]
  Tensor expert_ids;  // [T, K] i32, ascending
  Tensor weights;     // [T, K]
};

GateSaved moe_gate_forward(Queue& queue, Scratch& scratch, const GateForwardArgs& args);

struct GateBackwardArgs {
  const ModelShape* shape;
  ConstTensor weight;    ///< [E, D]
  ConstTensor x;         ///< [T, D]
  ConstTensor dweights;  ///< [T, K]
  ConstTensor dscores;   ///< [T, E] of the balance loss, or no data
  Tensor dx;             ///< out: [T, D]
};

/// Returns dlogits [T, E] for the weights' backward.
Tensor moe_gate_backward_inputs(Queue& queue, Scratch& scratch, const GateBackwardArgs& args,
                                const GateSaved& saved);
void moe_gate_backward_weights(Queue& queue, Scratch& scratch, const GateBackwardArgs& args,
                               const Tensor& dlogits, const GradientSum& gradient);

/// Which rows go where: made on the host once the choice is known, in shared memory.
struct Dispatch {
  struct Source {                  ///< a holder of experts
    std::vector<int64_t> offsets;  ///< rows of each of its experts, in id order: one more than experts
    Buffer index;                  ///< [R] i32: the token of each row, ascending within an expert
    Buffer slot;                   ///< [R] i32: t * K + k of each row: where its weight stands
    int64_t rows() const { return offsets.back(); }
  };
  std::vector<Source> sources;
  Buffer source, row, group;  ///< [T, K] i32, for combine_rows
};

/// `owner[e]` is the source that holds expert e.
Dispatch plan_dispatch(const ConstTensor& expert_ids, const std::vector<int>& owner, int sources,
                       int64_t groups);

}  // namespace troupe::kernels
