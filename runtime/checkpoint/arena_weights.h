// Weights between a model folder and the state arena.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/state/arena.h"

namespace troupe::runtime {

/// Fills the weights of state 0 by name; moments stay zero. Returns the routing bias
/// [MoE layers * E], layer by layer, that of the MTP layer last. Throws CheckpointError if the
/// source lacks a tensor of the arena or has another shape.
std::vector<float> load_weights(const WeightSource& source, StateArena& arena);

struct SaveWeightsArgs {
  const StateArena& arena;
  uint64_t state;
  std::span<const float> routing_bias;  ///< [MoE layers * E], as load_weights returns it
  WeightSink& sink;                     ///< of the same model; not finished here
};

/// Writes every tensor of the sink. Throws CheckpointError if the arena lacks one.
void save_weights(const SaveWeightsArgs& args);

}  // namespace troupe::runtime
