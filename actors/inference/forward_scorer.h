// The loss of a model on documents where it is trained: training's forward, in the queue of its device and arithmetic.
// On a GPU a run is scored in the time of a few steps. What a sequence that grows needs (caches) is in decoder.h.
#pragma once

#include <span>
#include <vector>

#include "actors/inference/scorer.h"
#include "actors/model/tensors.h"
#include "config/plan/planner.h"
#include "kernels/layers/attention/mla.h"

namespace troupe::actors {

struct ForwardScoreArgs {
  kernels::Queue& queue;
  const ModelTensors& tensors;           ///< of the queue's device
  const Recipe& recipe;                  ///< its shape and precision are read
  kernels::MlaContext context;           ///< of the phase that is scored; positions up to `sequence_rows`
  std::span<const config::ExpertRange> experts;  ///< of a layer, as the run's shards have them
  const std::vector<float>& routing_bias;        ///< [MoE layers * E]
  StepView view;                                 ///< which state, and an attempt of its own
  std::span<const runtime::HeldOutDocument> documents;
  int64_t sequence_rows;                         ///< positions of a window, at least 2
  int64_t rows_at_once;                          ///< of the windows of one call, with padding
  /// Called when a layer has been computed and its weights are not read any more; may be empty.
  std::function<void()> layer_done;
};

/// As score_documents: of each document, in the same windows. Law 1: where both compute in one arithmetic, with the
/// same bits. Many windows go at once, shorter ones with padding behind them.
std::vector<Score> score_by_forward(const ForwardScoreArgs& args);

}  // namespace troupe::actors
