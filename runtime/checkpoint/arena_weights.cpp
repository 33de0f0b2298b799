#include "runtime/checkpoint/arena_weights.h"

#include <map>

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
  std::vector<float> bias;
  for (const WeightInfo& info : source.list()) {
    if (!is_bias(info)) continue;
    const size_t begin = bias.size();
    bias.resize(begin + static_cast<size_t>(info.count()));
    source.read_f32(info.name, std::span(bias).subspan(begin));
  }
  return bias;
}

void save_weights(const SaveWeightsArgs& args) {
  size_t used = 0;
  for (const WeightInfo& info : args.sink.list()) {
    const auto count = static_cast<size_t>(info.count());
    if (is_bias(info)) {
      if (args.routing_bias.size() - used < count) {
        throw CheckpointError("routing bias: found " + std::to_string(args.routing_bias.size()) +
                              " elements, wanted those of " + info.name + " as well");
      }
      args.sink.write_f32(info.name, args.routing_bias.subspan(used, count));
      used += count;
      continue;
    }
    if (!args.arena.has(info.name)) {
      throw CheckpointError("tensor " + info.name + ": found none in the state, wanted it");
    }
    const auto weight = args.arena.weight(args.arena.index(info.name), args.state);
    args.sink.write_f32(info.name, values_of(kernels::values<float>(weight), weight.count()));
  }
}

}  // namespace troupe::runtime
