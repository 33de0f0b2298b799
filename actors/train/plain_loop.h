// A training step as one plain loop, without actors: the oracle that the actors' hash must meet,
// and the measure of what being actors costs. Micro-batches one after the other, one queue.
#pragma once

#include <span>

#include "actors/control/commit.h"
#include "actors/model/tensors.h"
#include "actors/train/batch.h"
#include "actors/train/phase_contexts.h"
#include "kernels/layers/moe/moe_gate.h"
#include "runtime/state/arena.h"

namespace troupe::actors {

/// What a forward pass shows from outside: for conformance, one entry a micro-batch or layer.
struct ForwardView {
  std::vector<float> hidden;                       ///< [T, D] after the final norm
  std::vector<float> logits;                       ///< [T, V]
  std::vector<std::vector<float>> mtp_logits;      ///< by module
  std::vector<std::vector<int32_t>> expert_ids;    ///< by MoE layer, [T, K]
  std::vector<std::vector<float>> expert_weights;  ///< by MoE layer, [T, K]
};

class PlainLoop {
 public:
  /// The arena holds the model's parameters; state 0 has been filled. With a queue on the GPU the
  /// state still is updated on the host.
  PlainLoop(runtime::StateArena& arena, const Recipe& recipe, kernels::Queue& queue);

  RoutingBias& bias() { return bias_; }

  /// Step N = steps committed + 1 on these micro-batches: forward, backward, commit, apply.
  /// Micro-batches are played in `order` when it is not empty. Throws StateError when a loss or
  /// gradient stays NaN, or a loss is a spike, and the recipe says stop.
  wire::StepRecord step(std::span<const MicroBatch> batches, std::span<const int> order = {});

  /// Forward and backward alone: gradient sums are left in the arena.
  StepSums gradients(std::span<const MicroBatch> batches, std::span<const int> order,
                     const Attempt& attempt, ForwardView* view = nullptr);

  uint64_t steps_done() const { return steps_done_; }
  uint64_t consumed_tokens() const { return consumed_tokens_; }
  /// Hash of the state after the last step.
  uint64_t hash();

 private:
  struct Pass;

  void micro_batch(const MicroBatch& batch, const Denominators& step, const Attempt& attempt,
                   StepSums& sums, ForwardView* view);
  void apply(const wire::StepRecord& record);

  runtime::StateArena& arena_;
  const Recipe recipe_;
  const Timeline timeline_;
  kernels::Queue& queue_;
  kernels::Queue state_queue_;  // of the host
  ModelTensors tensors_;
  const PhaseContexts contexts_;
  RoutingBias bias_;
  const uint64_t number_;  // of the loop, so that no weights of another are taken for its own
  uint64_t attempts_ = 0;
  uint64_t steps_done_ = 0;
  uint64_t consumed_tokens_ = 0;
  wire::LossTrend trend_;
};

}  // namespace troupe::actors
