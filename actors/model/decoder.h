// A model's forward over caches, without actors: generation, scoring, evaluation.
#pragma once

#include <span>
#include <vector>

#include "actors/model/tensors.h"
#include "kernels/layers/mla.h"

namespace troupe::actors {

/// One sequence that grows: a latent cache for each main layer.
struct DecoderSequence {
  std::vector<kernels::LatentCache> layers;
  int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

/// Row law: a row's logits have the bits that training forward gives it (expanded form), however
/// sequences are cut into calls and whatever else is in a call. Not for several threads at once.
class Decoder {
 public:
  struct Args {
    runtime::StateArena& arena;
    const Recipe& recipe;                    ///< its shape is what matters
    const std::vector<float>& routing_bias;  ///< [MoE layers * E]
    kernels::Queue& queue;
    kernels::AttentionForm form;
    uint64_t state;
    int64_t page_rows;                       ///< of the caches
  };
  explicit Decoder(const Args& args);

  DecoderSequence new_sequence() const;

  /// Tokens that continue one sequence.
  struct Part {
    DecoderSequence* sequence;
    std::span<const int32_t> tokens;
  };
  /// Logits of every row, part after part: [T, V]. Blocks until they are there. Throws KernelError
  /// when a token is not in the vocabulary or a sequence outgrows the model's positions.
  kernels::Buffer logits(std::span<const Part> parts);

  /// The final norm's output, [T, D].
  kernels::Buffer hidden(std::span<const Part> parts);

  int64_t vocabulary() const { return args_.recipe.shape.vocabulary; }
  int64_t max_positions() const { return args_.recipe.shape.max_positions; }

 private:
  struct Call;
  kernels::Tensor layer(Call& call, int64_t number, const kernels::Tensor& x);
  kernels::Tensor routed(Call& call, int64_t number, const kernels::Tensor& normed);

  const Args args_;
  const ModelTensors tensors_;
  const kernels::RopeTable rope_;
  const StepView view_;
};

}  // namespace troupe::actors
