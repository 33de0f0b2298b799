#include "kernels/layers/params.h"

#include <algorithm>

#include "kernels/random.h"

namespace troupe::kernels {
namespace {

class Listing {
 public:
  explicit Listing(const ModelShape& shape) : shape_(shape) {}

  void matrix(const std::string& name, int64_t out, int64_t in) {
    specs_.push_back({prefix_ + name + ".weight", {out, in}, Initial::normal});
  }
  void norm(const std::string& name, int64_t n) {
    specs_.push_back({prefix_ + name + ".weight", {n}, Initial::ones});
  }

  void attention() {
    norm("input_layernorm", shape_.hidden);
    shape_.is_grouped() ? grouped_attention() : latent_attention();
    norm("post_attention_layernorm", shape_.hidden);
  }

  void grouped_attention() {
    const ModelShape& s = shape_;
    matrix("self_attn.q_proj", s.heads * s.query_width(), s.hidden);
    matrix("self_attn.k_proj", s.kv_heads * s.query_width(), s.hidden);
    matrix("self_attn.v_proj", s.kv_heads * s.query_width(), s.hidden);
    matrix("self_attn.o_proj", s.hidden, s.heads * s.query_width());
  }

  void latent_attention() {
    const ModelShape& s = shape_;
    if (s.q_lora > 0) {
      matrix("self_attn.q_a_proj", s.q_lora, s.hidden);
      norm("self_attn.q_a_layernorm", s.q_lora);
      matrix("self_attn.q_b_proj", s.heads * s.query_width(), s.q_lora);
    } else {
      matrix("self_attn.q_proj", s.heads * s.query_width(), s.hidden);
    }
    matrix("self_attn.kv_a_proj_with_mqa", s.kv_lora + s.rope, s.hidden);
    norm("self_attn.kv_a_layernorm", s.kv_lora);
    matrix("self_attn.kv_b_proj", s.heads * (s.nope + s.v_head), s.kv_lora);
    matrix("self_attn.o_proj", s.hidden, s.heads * s.v_head);
  }

  void mlp(const std::string& name, int64_t width) {
    matrix(name + ".gate_proj", width, shape_.hidden);
    matrix(name + ".up_proj", width, shape_.hidden);
    matrix(name + ".down_proj", shape_.hidden, width);
  }

  void experts() {
    matrix("mlp.gate", shape_.experts, shape_.hidden);
    for (int64_t e = 0; e < shape_.experts; ++e) {
      mlp("mlp.experts." + std::to_string(e), shape_.expert_width);
    }
    if (shape_.shared_experts > 0) {
      mlp("mlp.shared_experts", shape_.shared_experts * shape_.expert_width);
    }
  }

  std::vector<ParameterSpec> all() {
    matrix("model.embed_tokens", shape_.vocabulary, shape_.hidden);
    for (int64_t layer = 0; layer < shape_.layers + shape_.mtp_layers; ++layer) {
      prefix_ = layer_prefix(layer);
      const bool is_mtp = layer >= shape_.layers;
      if (is_mtp) {
        norm("enorm", shape_.hidden);
        norm("hnorm", shape_.hidden);
        matrix("eh_proj", shape_.hidden, 2 * shape_.hidden);
      }
      attention();
      if (!is_mtp && shape_.is_dense(layer)) {
        mlp("mlp", shape_.dense_width);
      } else {
        experts();
      }
      if (is_mtp) norm("shared_head.norm", shape_.hidden);
    }
    prefix_.clear();
    norm("model.norm", shape_.hidden);
    matrix("lm_head", shape_.vocabulary, shape_.hidden);
    return std::move(specs_);
  }

 private:
  const ModelShape& shape_;
  std::string prefix_;
  std::vector<ParameterSpec> specs_;
};

/// FNV-1a: names a tensor's random stream. Two names that met would share their initial values,
/// which params_test rules out for the models at hand.
uint32_t stream_of(const std::string& name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash;
}

}  // namespace

int64_t ParameterSpec::count() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

std::vector<ParameterSpec> parameters(const ModelShape& shape) { return Listing(shape).all(); }

std::string routing_bias_name(int64_t layer) {
  return layer_prefix(layer) + "mlp.gate.e_score_correction_bias";
}

std::string layer_prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

float initial_value(const ParameterSpec& spec, uint64_t seed, float std, int64_t element) {
  if (spec.initial == Initial::ones) return 1.0f;
  const double z = random_normal({seed, Purpose::initial_weights, stream_of(spec.name),
                                  static_cast<uint64_t>(element)});
  return static_cast<float>(static_cast<double>(std) * z);
}

void initial_values(const ParameterSpec& spec, uint64_t seed, float std, int64_t first,
                    std::span<float> values) {
  if (spec.initial == Initial::ones) return std::fill(values.begin(), values.end(), 1.0f);
  RandomKey key{seed, Purpose::initial_weights, stream_of(spec.name),
                static_cast<uint64_t>(first)};
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(std) * random_normal(key));
    ++key.position;
  }
}

}  // namespace troupe::kernels
