// A layer's weights and gradient sums, found in the arena by their Hugging Face names once.
#pragma once

#include <vector>

#include "actors/train/recipe.h"
#include "kernels/layers/ffn.h"
#include "kernels/layers/mtp.h"
#include "kernels/layers/residual.h"
#include "runtime/state/arena.h"
#include "runtime/state/gpu_mirror.h"
#include "runtime/state/unit_recorder.h"

namespace troupe::actors {

/// Which version of the state forward and backward read, and how gradients are scaled.
struct StepView {
  uint64_t state;  ///< N - 1 in step N
  int scale_bits;  ///< s

  // Who is shown every unit of a gradient, and of which attempt and micro-batch; null: nobody.
  runtime::UnitRecorder* recorder = nullptr;
  runtime::UnitEpoch epoch = {};
  uint32_t micro_batch = 0;

  int64_t micro_batches = 1;  ///< of the step: each gives one unit to a tensor, MTP's sites another
  double mtp_weight = 0;      ///< lambda of the step

  bool reads_ema = false;  // of the weights, in their place
};

/// Layers are numbered as their names are: MTP module m is layer `layers + m`.
class ModelTensors {
 public:
  /// For queues on `device`: on the GPU they are those of the arena's mirror, and linear layers'
  /// weights are bf16 there if tensor cores read them. `has_several_lanes`: units of a tensor may
  /// come from several queues at a time.
  ModelTensors(runtime::StateArena& arena, const Recipe& recipe,
               kernels::Device device = kernels::Device::cpu, bool has_several_lanes = true);

  kernels::AttentionWeights attention(int64_t layer, StepView step) const;
  kernels::AttentionGradients attention_gradients(int64_t layer, StepView step) const;

  /// The norm before the MLP or the experts.
  kernels::ConstTensor post_norm(int64_t layer, StepView step) const;
  kernels::GradientSum post_norm_gradient(int64_t layer, StepView step) const;

  /// The dense MLP of a dense layer, the shared expert of another.
  bool has_own_ffn(int64_t layer) const;
  kernels::FfnWeights own_ffn(int64_t layer, StepView step) const;
  kernels::FfnGradients own_ffn_gradients(int64_t layer, StepView step) const;

  kernels::ConstTensor gate(int64_t layer, StepView step) const;
  kernels::GradientSum gate_gradient(int64_t layer, StepView step) const;

  /// Of `count` experts from `first` on.
  std::vector<kernels::FfnWeights> experts(int64_t layer, int64_t first, int64_t count,
                                           StepView step) const;
  kernels::FfnGradients expert_gradients(int64_t layer, int64_t expert, StepView step) const;

  kernels::ConstTensor embedding(StepView step) const;
  kernels::GradientSum embedding_gradient(StepView step) const;
  kernels::ConstTensor head(StepView step) const;
  kernels::GradientSum head_gradient(int64_t module, StepView step) const;
  /// The main model's final norm (module -1) or an MTP module's shared_head.norm.
  kernels::ConstTensor final_norm(int64_t module, StepView step) const;
  kernels::GradientSum final_norm_gradient(int64_t module, StepView step) const;

  kernels::MtpWeights mtp(int64_t module, StepView step) const;
  kernels::MtpGradients mtp_gradients(int64_t module, StepView step) const;

 private:
  struct Layer {
    kernels::AttentionTensors<int> attention;
    int post_norm, gate;
    kernels::FfnTensors<int> own_ffn;
    std::vector<kernels::FfnTensors<int>> experts;
  };

  kernels::ConstTensor weight(int tensor, StepView step) const;
  /// Of a linear layer.
  kernels::ConstTensor linear(int tensor, StepView step) const;
  kernels::FfnWeights linear(const kernels::FfnTensors<int>& tensors, StepView step) const;
  /// `site` tells uses of embedding and head apart: 0 the main model's, m + 1 that of MTP module m.
  kernels::GradientSum gradient(int tensor, StepView step, int64_t site = 0) const;
  const Layer& layer(int64_t number) const { return layers_[static_cast<size_t>(number)]; }

  runtime::StateArena& arena_;
  runtime::GpuMirror* const mirror_;  // null on the CPU
  const bool is_narrow_;         // linear layers read bf16
  const int64_t shared_sites_;  // that give units to embedding and head
  std::vector<Layer> layers_;
  std::vector<kernels::MtpTensors<int>> mtp_;
  std::vector<int> final_norms_;  // the main model's, then the modules'
  int embedding_, head_;
};

}  // namespace troupe::actors
