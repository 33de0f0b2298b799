// Weights between a model folder and the state arena.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/state/arena.h"

namespace troupe::runtime {

/// Fills the weights of state 0 by name; moments stay zero, an EMA begins there. Returns the routing bias
/// [MoE layers * E], layer by layer, that of the MTP layer last. Throws CheckpointError if the
/// source lacks a tensor of the arena or has another shape.
std::vector<float> load_weights(const WeightSource& source, StateArena& arena);

/// A state of a model's weights.
struct StateWeightsArgs {
  const StateArena& arena;
  uint64_t state;
  std::span<const float> routing_bias;  ///< [MoE layers * E], as load_weights returns it
  bool takes_ema = false;               ///< of the weights, in their place; the arena has one
};

/// That state as a source. What `args` refers to outlives it.
class StateWeights : public WeightSource {
 public:
  /// `list`: every tensor of the model, as weight_list() gives them. Throws CheckpointError if the
  /// routing bias is shorter than the list's, or the arena lacks a tensor.
  StateWeights(const StateWeightsArgs& args, std::vector<WeightInfo> list);

  const std::vector<WeightInfo>& list() const override { return list_; }
  void read_f32(std::string_view name, std::span<float> out) const override;

 private:
  const StateWeightsArgs args_;
  const std::vector<WeightInfo> list_;
  std::map<std::string, size_t, std::less<>> biases_;  // where each begins
};

/// Writes every tensor of `sink`, which is of the same model; it is not finished here. Throws
/// CheckpointError as StateWeights does.
void save_weights(const StateWeightsArgs& args, WeightSink& sink);

}  // namespace troupe::runtime
