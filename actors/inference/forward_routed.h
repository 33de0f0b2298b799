// What a forward without actors is made of, whether it keeps caches (decoder.h) or not (forward_scorer.h).
#pragma once

#include <exception>
#include <span>

#include "actors/model/tensors.h"
#include "config/plan/planner.h"

namespace troupe::actors {

/// When an exception passes, operations under way must end before the memory that they use.
struct Drained {
  kernels::Queue& queue;
  ~Drained() { queue.cancel(std::make_exception_ptr(kernels::KernelError("given up"))); }
};

struct RoutedForward {
  const ModelTensors& tensors;  ///< of the queue's device
  const Recipe& recipe;
  int64_t layer;
  StepView view;
  std::span<const float> routing_bias;           ///< [MoE layers * E]
  std::span<const config::ExpertRange> experts;  ///< of a layer, ascending: in these lists weights are asked for
  kernels::Tensor normed;                        ///< [T, D]
};

/// Router and experts of a layer, [T, D] in `scratch`. Waits for the queue.
kernels::Tensor forward_routed(kernels::Queue& queue, kernels::Scratch& scratch, const RoutedForward& args);

}  // namespace troupe::actors
