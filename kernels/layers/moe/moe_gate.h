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

/// Which rows go where. Tables are where the queue computes.
struct Dispatch {
  struct Source {                  ///< a holder of experts
    std::vector<int64_t> offsets;  ///< rows of each of its experts, in id order: one more than experts
    Tensor index;                  ///< [R] i32: the token of each row, ascending within an expert
    Tensor slot;                   ///< [R] i32: t * K + k of each row: where its weight stands
    int64_t rows() const { return offsets.back(); }
  };
  std::vector<Source> sources;  ///< when the queue has passed: dispatch_sources
  Tensor source, row, group;    ///< [T, K] i32, for combine_rows
  Tensor index, slot;           ///< [T * K] i32: of all sources, one behind the other
  Tensor counts;                ///< [E] i32: rows of each expert, for the host
};

/// Enqueues the tables. `owner[e]` is the source that holds expert e.
Dispatch plan_dispatch(Queue& queue, Scratch& scratch, const ConstTensor& expert_ids,
                       const std::vector<int32_t>& owner, int64_t groups);
/// The queue has passed: what each of `sources` gets, in the plan's tables or in copies of them.
std::vector<Dispatch::Source> dispatch_sources(const Dispatch& plan, const std::vector<int32_t>& owner,
                                               int sources);

}  // namespace troupe::kernels
