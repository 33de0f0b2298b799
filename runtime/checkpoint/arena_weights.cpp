#include "runtime/checkpoint/arena_weights.h"

#include <algorithm>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/safetensors_header.h"

namespace troupe::runtime {

namespace {

bool is_bias(const WeightInfo& info) { return info.name.ends_with(".e_score_correction_bias"); }

template <class T>
std::span<T> values_of(T* data, int64_t count) {
  return {data, static_cast<size_t>(count)};
}

}  // namespace

std::vector<float> load_weights(const WeightSource& source, StateArena& arena) {
  std::map<std::string_view, const WeightInfo*> by_name;
  for (const WeightInfo& info : source.list()) by_name[info.name] = &info;
  for (int t = 0; t < arena.tensors(); ++t) {
    const kernels::ParameterSpec& spec = arena.spec(t);
    const auto found = by_name.find(spec.name);
    if (found == by_name.end() || found->second->shape != spec.shape) {
      throw CheckpointError("tensor " + spec.name + ": found " +
                            (found == by_name.end() ? "none" : shape_text(found->second->shape)) +
                            ", wanted " + shape_text(spec.shape));
    }
    float* out = kernels::values<float>(arena.mutable_weight(t, 0));
    source.read_f32(spec.name, values_of(out, spec.count()));
  }
  arena.begin_ema();
  std::vector<float> bias;
  for (const WeightInfo& info : source.list()) {
    if (!is_bias(info)) continue;
    const size_t begin = bias.size();
    bias.resize(begin + static_cast<size_t>(info.count()));
    source.read_f32(info.name, std::span(bias).subspan(begin));
  }
  return bias;
}

StateWeights::StateWeights(const StateWeightsArgs& args, std::vector<WeightInfo> list)
    : args_(args), list_(std::move(list)) {
  size_t used = 0;
  for (const WeightInfo& info : list_) {
    if (!is_bias(info)) {
      if (args.arena.has(info.name)) continue;
      throw CheckpointError("tensor " + info.name + ": found none in the state, wanted it");
    }
    const auto count = static_cast<size_t>(info.count());
    if (args.routing_bias.size() - used < count) {
      throw CheckpointError("routing bias: found " + std::to_string(args.routing_bias.size()) +
                            " elements, wanted those of " + info.name + " as well");
    }
    biases_[info.name] = used;
    used += count;
  }
}

void StateWeights::read_f32(std::string_view name, std::span<float> out) const {
  if (const auto bias = biases_.find(name); bias != biases_.end()) {
    const auto values = args_.routing_bias.subspan(bias->second, out.size());
    std::copy(values.begin(), values.end(), out.begin());
    return;
  }
  const int tensor = args_.arena.index(name);
  const auto weight = args_.takes_ema ? args_.arena.ema(tensor, args_.state)
                                      : args_.arena.weight(tensor, args_.state);
  const auto values = values_of(kernels::values<float>(weight), weight.count());
  std::copy(values.begin(), values.end(), out.begin());
}

void save_weights(const StateWeightsArgs& args, WeightSink& sink) {
  const StateWeights source(args, sink.list());
  std::vector<float> values;
  for (const WeightInfo& info : source.list()) {
    values.resize(static_cast<size_t>(info.count()));
    source.read_f32(info.name, values);
    sink.write_f32(info.name, values);
  }
}

}  // namespace troupe::runtime
