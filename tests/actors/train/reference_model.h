// The whole model and the step's loss in f64, weights by their Hugging Face names.
#pragma once

#include <map>
#include <span>
#include <string>

#include "actors/train/batch.h"
#include "actors/train/recipe.h"
#include "tests/kernels/reference/layers.h"
#include "tests/kernels/reference/logits.h"

namespace troupe::tests {

using Weights = std::map<std::string, Doubles>;

class ReferenceModel {
 public:
  /// `bias` is the routing bias, [MoE layers * E].
  ReferenceModel(const actors::Recipe& recipe, const Weights& weights, const Doubles& bias)
      : recipe_(recipe), s_(recipe.shape), weights_(weights), bias_(bias) {}

  struct Losses {
    double main = 0, mtp = 0, balance = 0;  // as a step's record has them
  };
  /// Mean losses of a step, the report's equations 17 to 20 and 21 to 25.
  Losses losses(std::span<const actors::MicroBatch> step) {
    Losses sum;
    const auto counts = actors::denominators(step, s_.mtp_layers);
    for (const actors::MicroBatch& batch : step) add(batch, counts, sum);
    return sum;
  }
  /// What is trained on.
  double total(std::span<const actors::MicroBatch> step) {
    const Losses l = losses(step);
    return l.main + recipe_.mtp_weight * l.mtp + l.balance;
  }

 private:
  const Doubles& weight(const std::string& name) const { return weights_.at(name + ".weight"); }
  static std::vector<int32_t> integers_of(const kernels::Buffer& b) {
    const int32_t* data = kernels::values<int32_t>(b.view);
    return {data, data + b.view.count()};
  }
  size_t D() const { return static_cast<size_t>(s_.hidden); }

  kernels::FfnTensors<Doubles> ffn(const std::string& name) const {
    return {weight(name + ".gate_proj"), weight(name + ".up_proj"), weight(name + ".down_proj")};
  }

  static Doubles sum_of(Doubles a, const Doubles& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  }

  Doubles layer(int64_t number, const Doubles& x, int64_t rows, double sequences, Losses& sum) {
    const std::string at = kernels::layer_prefix(number), attention = at + "self_attn.";
    const Doubles normed = reference::rms_norm(x, weight(at + "input_layernorm"), s_.rms_eps);
    const Doubles y = sum_of(x, attention_of(attention, normed, rows));
    const Doubles u = reference::rms_norm(y, weight(at + "post_attention_layernorm"), s_.rms_eps);
    if (s_.is_dense(number)) return sum_of(y, reference::ffn(ffn(at + "mlp"), u, D()));
    const Doubles routed = sum_of(y, experts(number, u, rows, sequences, sum));
    if (s_.shared_experts == 0) return routed;
    return sum_of(routed, reference::ffn(ffn(at + "mlp.shared_experts"), u, D()));
  }

  Doubles attention_of(const std::string& attention, const Doubles& normed, int64_t rows) const {
    if (s_.is_grouped()) {
      return reference::gqa(s_,
                            {weight(attention + "q_proj"), weight(attention + "k_proj"),
                             weight(attention + "v_proj"), weight(attention + "o_proj")},
                            normed, rows);
    }
    const kernels::MlaTensors<Doubles> mla{
        s_.q_lora > 0 ? weight(attention + "q_a_proj") : Doubles{},
        s_.q_lora > 0 ? weight(attention + "q_a_layernorm") : Doubles{},
        weight(attention + (s_.q_lora > 0 ? "q_b_proj" : "q_proj")),
        weight(attention + "kv_a_proj_with_mqa"), weight(attention + "kv_a_layernorm"),
        weight(attention + "kv_b_proj"), weight(attention + "o_proj")};
    return reference::mla(s_, mla, normed, rows);
  }

  Doubles experts(int64_t number, const Doubles& u, int64_t rows, double sequences, Losses& sum) {
    const std::string at = kernels::layer_prefix(number) + "mlp.";
    const Doubles& gate = weight(at + "gate");
    const auto E = s_.experts, first = (number - s_.dense_layers) * E;
    const Doubles bias(bias_.begin() + first, bias_.begin() + first + E);
    std::vector<kernels::FfnTensors<Doubles>> weights;
    for (int64_t e = 0; e < E; ++e) weights.push_back(ffn(at + "experts." + std::to_string(e)));
    // The balance loss counts sequence by sequence, or the micro-batch as one long sequence.
    const bool by_sequence = recipe_.balance == actors::Balance::sequence;
    const size_t counted = by_sequence ? static_cast<size_t>(rows) * D() : u.size();
    const double share = static_cast<double>(counted) / static_cast<double>(rows * s_.hidden);
    for (size_t b = 0; b < u.size(); b += counted) {
      Doubles scores;
      std::vector<int64_t> counts(static_cast<size_t>(E), 0);
      for (size_t t = b; t < b + counted; t += D()) {
        const auto choice = reference::choose(
            s_, gate, bias,
            Doubles(u.begin() + static_cast<long>(t), u.begin() + static_cast<long>(t + D())));
        scores.insert(scores.end(), choice.scores.begin(), choice.scores.end());
        for (const int32_t id : choice.ids) ++counts[static_cast<size_t>(id)];
      }
      sum.balance += reference::balance_loss(scores, counts, static_cast<size_t>(s_.top_k),
                                             recipe_.balance_alpha * share / sequences);
    }
    return reference::routed_experts(s_, gate, bias, weights, u);
  }

  double head_loss(const Doubles& normed, const kernels::Buffer& targets, int64_t count) const {
    double loss = 0;
    const Doubles logits = reference::linear(normed, weight("lm_head"), D());
    for (const double l : reference::cross_entropy(logits, integers_of(targets))) loss += l;
    return loss / static_cast<double>(count);
  }

  void add(const actors::MicroBatch& batch, const actors::Denominators& counts, Losses& sum) {
    const double sequences = static_cast<double>(counts.sequences);
    Doubles x = reference::embed(integers_of(batch.inputs), weight("model.embed_tokens"), D());
    for (int64_t number = 0; number < s_.layers; ++number) {
      x = layer(number, x, batch.rows, sequences, sum);
    }
    const Doubles h = reference::rms_norm(x, weight("model.norm"), s_.rms_eps);
    sum.main += head_loss(h, batch.targets, counts.main);
    if (s_.mtp_layers == 0) return;
    const actors::MicroBatch ahead = actors::mtp_batch(batch, 0);
    const std::string at = kernels::layer_prefix(s_.layers);
    const kernels::MtpTensors<Doubles> joint{weight("model.embed_tokens"), weight(at + "enorm"),
                                             weight(at + "hnorm"), weight(at + "eh_proj")};
    const Doubles in = reference::mtp_joint(joint, h, integers_of(ahead.inputs),
                                            static_cast<size_t>(batch.rows), s_.rms_eps);
    const Doubles out = layer(s_.layers, in, ahead.rows, sequences, sum);
    const Doubles normed =
        reference::rms_norm(out, weight(at + "shared_head.norm"), s_.rms_eps);
    sum.mtp += head_loss(normed, ahead.targets, counts.mtp.at(0));
  }

  const actors::Recipe& recipe_;
  const kernels::ModelShape& s_;
  const Weights& weights_;
  const Doubles& bias_;
};

}  // namespace troupe::tests
