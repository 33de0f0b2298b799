#include "actors/model/tensors.h"

#include <array>
#include <span>

namespace troupe::actors {
namespace {

using kernels::AttentionTensors;
using kernels::ConstTensor;
using kernels::FfnTensors;
using kernels::FfnWeights;
using kernels::GradientSum;
using kernels::MtpTensors;

constexpr int absent = -1;

template <class F>
auto map(const AttentionTensors<int>& t, F f) -> AttentionTensors<decltype(f(0))> {
  return {f(t.input_norm),
          {f(t.mla.q_a), f(t.mla.q_a_norm), f(t.mla.q_b), f(t.mla.kv_a), f(t.mla.kv_a_norm),
           f(t.mla.kv_b), f(t.mla.o)},
          {f(t.gqa.q), f(t.gqa.k), f(t.gqa.v), f(t.gqa.o)}};
}
template <class F>
auto map(const FfnTensors<int>& t, F f) -> FfnTensors<decltype(f(0))> {
  return {f(t.gate), f(t.up), f(t.down)};
}
template <class F>
auto map(const MtpTensors<int>& t, F f) -> MtpTensors<decltype(f(0))> {
  return {f(t.embedding), f(t.enorm), f(t.hnorm), f(t.eh_proj)};
}

runtime::GpuMirror* mirror_for(runtime::StateArena& arena, kernels::Device device, bool has_several_lanes) {
  if (device != kernels::Device::cuda) return nullptr;
  arena.open_mirror();
  arena.mirror()->share_sums(has_several_lanes);
  return arena.mirror();
}

}  // namespace

ModelTensors::ModelTensors(runtime::StateArena& arena, const Recipe& recipe,
                           kernels::Device device, bool has_several_lanes)
    : arena_(arena), mirror_(mirror_for(arena, device, has_several_lanes)),
      is_narrow_(mirror_ && recipe.arithmetic == kernels::Arithmetic::sm_90a &&
                 recipe.precision != kernels::Precision::fp32),
      shared_sites_(1 + recipe.shape.mtp_layers) {
  const auto find = [&](const std::string& name) {
    return arena.has(name + ".weight") ? arena.index(name + ".weight") : absent;
  };
  const auto ffn = [&](const std::string& name) {
    return FfnTensors<int>{find(name + ".gate_proj"), find(name + ".up_proj"),
                           find(name + ".down_proj")};
  };
  const kernels::ModelShape& s = recipe.shape;
  const auto attention = [&](const std::string& prefix) -> AttentionTensors<int> {
    const auto part = [&](const char* name) { return find(prefix + "self_attn." + name); };
    const char* const q = s.q_lora > 0 ? "q_b_proj" : "q_proj";
    const bool is_grouped = s.is_grouped();
    const auto of = [&](bool wanted, const char* name) { return wanted ? part(name) : absent; };
    return {find(prefix + "input_layernorm"),
            {part("q_a_proj"), part("q_a_layernorm"), of(!is_grouped, q),
             part("kv_a_proj_with_mqa"), part("kv_a_layernorm"), part("kv_b_proj"),
             of(!is_grouped, "o_proj")},
            {of(is_grouped, "q_proj"), part("k_proj"), part("v_proj"), of(is_grouped, "o_proj")}};
  };
  embedding_ = find("model.embed_tokens");
  head_ = find("lm_head");
  final_norms_.push_back(find("model.norm"));
  for (int64_t number = 0; number < s.layers + s.mtp_layers; ++number) {
    const std::string prefix = kernels::layer_prefix(number);
    const bool has_experts = !s.is_dense(number);
    Layer layer{};
    layer.attention = attention(prefix);
    layer.post_norm = find(prefix + "post_attention_layernorm");
    layer.gate = find(prefix + "mlp.gate");
    layer.own_ffn = ffn(prefix + (has_experts ? "mlp.shared_experts" : "mlp"));
    for (int64_t e = 0; has_experts && e < s.experts; ++e) {
      layer.experts.push_back(ffn(prefix + "mlp.experts." + std::to_string(e)));
    }
    layers_.push_back(std::move(layer));
    if (number < s.layers) continue;
    mtp_.push_back({embedding_, find(prefix + "enorm"), find(prefix + "hnorm"),
                    find(prefix + "eh_proj")});
    final_norms_.push_back(find(prefix + "shared_head.norm"));
  }
}

ConstTensor ModelTensors::weight(int tensor, StepView step) const {
  if (tensor == absent) return {};
  if (mirror_) return mirror_->weight(tensor, step.state, step.epoch);
  return step.reads_ema ? arena_.ema(tensor, step.state) : arena_.weight(tensor, step.state);
}

ConstTensor ModelTensors::linear(int tensor, StepView step) const {
  if (tensor == absent || !is_narrow_) return weight(tensor, step);
  return mirror_->bf16_weights(std::array{tensor}, step.state, step.epoch)[0];
}

FfnWeights ModelTensors::linear(const FfnTensors<int>& tensors, StepView step) const {
  if (tensors.gate == absent || !is_narrow_) {
    return map(tensors, [&](int t) { return weight(t, step); });
  }
  const auto both = mirror_->bf16_weights(std::array{tensors.gate, tensors.up}, step.state,
                                          step.epoch);
  return {both[0], both[1], linear(tensors.down, step)};
}

GradientSum ModelTensors::gradient(int tensor, StepView step, int64_t site) const {
  if (tensor == absent) return {};
  const bool is_shared = tensor == embedding_ || tensor == head_;
  const int64_t units = step.micro_batches * (is_shared ? shared_sites_ : 1);
  GradientSum sum = mirror_ ? mirror_->gradient(tensor, step.scale_bits, units)
                            : arena_.gradient(tensor, step.scale_bits, units);
  if (step.recorder == nullptr) return sum;
  wire::UnitHash unit;
  unit.set_kind(wire::UnitHash::GRADIENT);
  unit.set_micro_batch(step.micro_batch);
  unit.set_tensor(static_cast<uint32_t>(tensor));
  unit.set_part(is_shared ? static_cast<uint32_t>(site) : 0);
  sum.watch = [recorder = step.recorder, epoch = step.epoch, unit](const ConstTensor& gradient) {
    recorder->record(epoch, unit, {gradient});
  };
  return sum;
}

kernels::AttentionWeights ModelTensors::attention(int64_t n, StepView step) const {
  const AttentionTensors<int>& t = layer(n).attention;
  const auto vector = [&](int tensor) { return weight(tensor, step); };
  const auto matrix = [&](int tensor) { return linear(tensor, step); };
  return {vector(t.input_norm),
          {matrix(t.mla.q_a), vector(t.mla.q_a_norm), matrix(t.mla.q_b), matrix(t.mla.kv_a),
           vector(t.mla.kv_a_norm), matrix(t.mla.kv_b), matrix(t.mla.o)},
          {matrix(t.gqa.q), matrix(t.gqa.k), matrix(t.gqa.v), matrix(t.gqa.o)}};
}
kernels::AttentionGradients ModelTensors::attention_gradients(int64_t n, StepView step) const {
  return map(layer(n).attention, [&](int t) { return gradient(t, step); });
}
ConstTensor ModelTensors::post_norm(int64_t n, StepView step) const {
  return weight(layer(n).post_norm, step);
}
GradientSum ModelTensors::post_norm_gradient(int64_t n, StepView step) const {
  return gradient(layer(n).post_norm, step);
}
bool ModelTensors::has_own_ffn(int64_t n) const { return layer(n).own_ffn.gate != absent; }
kernels::FfnWeights ModelTensors::own_ffn(int64_t n, StepView step) const {
  return linear(layer(n).own_ffn, step);
}
kernels::FfnGradients ModelTensors::own_ffn_gradients(int64_t n, StepView step) const {
  return map(layer(n).own_ffn, [&](int t) { return gradient(t, step); });
}
ConstTensor ModelTensors::gate(int64_t n, StepView step) const {
  return weight(layer(n).gate, step);
}
GradientSum ModelTensors::gate_gradient(int64_t n, StepView step) const {
  return gradient(layer(n).gate, step);
}
std::vector<FfnWeights> ModelTensors::experts(int64_t n, int64_t first, int64_t count,
                                              StepView step) const {
  std::vector<FfnWeights> out;
  const auto its = std::span(layer(n).experts)
                       .subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  if (!is_narrow_) {
    for (const auto& one : its) out.push_back(linear(one, step));
    return out;
  }
  // Gate and up of an expert lie behind each other.
  std::vector<int> gates_and_ups, downs;
  for (const auto& one : its) {
    gates_and_ups.insert(gates_and_ups.end(), {one.gate, one.up});
    downs.push_back(one.down);
  }
  const auto upper = mirror_->bf16_weights(gates_and_ups, step.state, step.epoch);
  const auto lower = mirror_->bf16_weights(downs, step.state, step.epoch);
  for (size_t e = 0; e < lower.size(); ++e) {
    out.push_back({upper[2 * e], upper[2 * e + 1], lower[e]});
  }
  return out;
}
kernels::FfnGradients ModelTensors::expert_gradients(int64_t n, int64_t e, StepView step) const {
  return map(layer(n).experts[static_cast<size_t>(e)], [&](int t) { return gradient(t, step); });
}
ConstTensor ModelTensors::embedding(StepView step) const { return weight(embedding_, step); }
GradientSum ModelTensors::embedding_gradient(StepView step) const {
  return gradient(embedding_, step);
}
ConstTensor ModelTensors::head(StepView step) const { return linear(head_, step); }
GradientSum ModelTensors::head_gradient(int64_t module, StepView step) const {
  return gradient(head_, step, module + 1);
}
ConstTensor ModelTensors::final_norm(int64_t module, StepView step) const {
  return weight(final_norms_[static_cast<size_t>(module + 1)], step);
}
GradientSum ModelTensors::final_norm_gradient(int64_t module, StepView step) const {
  return gradient(final_norms_[static_cast<size_t>(module + 1)], step);
}
kernels::MtpWeights ModelTensors::mtp(int64_t module, StepView step) const {
  const MtpTensors<int>& t = mtp_[static_cast<size_t>(module)];
  return {weight(t.embedding, step), weight(t.enorm, step), weight(t.hnorm, step),
          linear(t.eh_proj, step)};
}
kernels::MtpGradients ModelTensors::mtp_gradients(int64_t module, StepView step) const {
  return map(mtp_[static_cast<size_t>(module)],
             [&](int t) { return gradient(t, step, module + 1); });
}

}  // namespace troupe::actors
