// A model's forward over caches, without actors: generation, scoring, evaluation.
#pragma once

#include <span>
#include <vector>

#include "actors/model/tensors.h"
#include "kernels/layers/attention/mla.h"

namespace troupe::actors {

/// One sequence that grows: a latent cache for each main layer.
struct DecoderSequence {
  std::vector<kernels::LayerCache> layers;
  int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

/// Row law: a row's logits have the bits that training forward gives it (expanded form), however
/// sequences are cut into calls and whatever else is in a call. Not for several threads at once.
class Decoder {
 public:
  struct Args {
    runtime::StateArena& arena;
    const Recipe& recipe;                    ///< its shape and precision are read
    const std::vector<float>& routing_bias;  ///< [MoE layers * E]; MTP's may be left out
    kernels::Queue& queue;
    kernels::AttentionForm form;
    uint64_t state;
    int64_t page_rows;                       ///< of the caches
    bool reads_ema = false;                  ///< of the weights; the arena has one
  };
  /// What `args` refers to outlives the decoder. Throws KernelError if the routing bias is shorter
  /// than the main layers need.
  explicit Decoder(const Args& args);

  DecoderSequence new_sequence() const;

  /// Tokens that continue one sequence.
  struct Part {
    DecoderSequence* sequence;
    std::span<const int32_t> tokens;  ///< may be none
  };
  /// Each of the four below continues the sequences of `parts`, of which none may stand twice, and
  /// blocks until the result is there. They throw KernelError, and change nothing, when a token is
  /// not in the vocabulary or a sequence outgrows the model's positions; after any other exception
  /// the sequences are of no use. Long parts go through the layers a piece at a time.

  /// Logits of every row, part after part: [T, V].
  kernels::Buffer logits(std::span<const Part> parts);

  /// Logits of each part's last row, of which there must be one: [parts, V].
  kernels::Buffer last_logits(std::span<const Part> parts);

  /// The final norm's output, [T, D].
  kernels::Buffer hidden(std::span<const Part> parts);

  /// -ln p of the [T] targets, 0 where a target is -1. Never holds the logits of all rows if they
  /// are many.
  std::vector<float> losses(std::span<const Part> parts, std::span<const int32_t> targets);

  int64_t vocabulary() const { return recipe_.shape.vocabulary; }
  int64_t max_positions() const { return recipe_.shape.max_positions; }

 private:
  struct Pass;
  void check(std::span<const Part> parts) const;
  kernels::Buffer head_of(const kernels::ConstTensor& hidden);
  void run(std::span<const Part> parts, const kernels::Tensor& hidden);
  kernels::Tensor layer(Pass& pass, int64_t number, const kernels::Tensor& x);
  kernels::Tensor routed(Pass& pass, int64_t number, const kernels::Tensor& normed);

  const Args args_;
  const Recipe recipe_;  // what forward needs: no balance loss
  const ModelTensors tensors_;
  const kernels::RopeTable rope_;
  const StepView view_;
};

}  // namespace troupe::actors
