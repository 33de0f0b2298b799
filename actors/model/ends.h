// The ends of the model: the embedding below the first layer, and above the last one the final
// norm, the head and its loss; MTP modules have both.
#pragma once

#include "actors/model/tensors.h"
#include "actors/train/batch.h"
#include "kernels/layers/head.h"
#include "kernels/layers/mtp.h"

namespace troupe::actors {

/// Token embedding of the main model, one micro-batch.
class EmbeddingEnd {
 public:
  EmbeddingEnd(const ModelTensors& tensors, StepView step) : tensors_(tensors), step_(step) {}
  kernels::Tensor forward(kernels::Queue& queue, kernels::Scratch& scratch,
                          const MicroBatch& batch);
  void backward_weights(kernels::Queue& queue, kernels::Scratch& unit_scratch,
                        const MicroBatch& batch, const kernels::ConstTensor& dy) const;

 private:
  const ModelTensors& tensors_;
  const StepView step_;
};

/// Final norm, head and cross entropy of the main model (module -1) or of MTP module `module`.
class HeadEnd {
 public:
  HeadEnd(const ModelTensors& tensors, const Recipe& recipe, int64_t module, StepView step)
      : tensors_(tensors), recipe_(recipe), module_(module), step_(step) {}

  /// `denominator` is the step's number of targets at this head.
  void forward(kernels::Queue& queue, kernels::Scratch& scratch, const kernels::ConstTensor& x,
               const kernels::ConstTensor& targets, int64_t denominator);
  const kernels::Tensor& normed() const { return norm_.y; }

  /// Gradient of x; `dnormed_from_mtp`, when it has data, is added behind the head's own.
  kernels::Tensor backward(kernels::Queue& queue, kernels::Scratch& scratch,
                           const kernels::ConstTensor& dnormed_from_mtp);
  void backward_weights(kernels::Queue& queue, kernels::Scratch& unit_scratch) const;

  /// This unit's share of the step's mean loss (before any weight): after the queue has passed.
  float loss() const;
  const kernels::HeadSaved& saved() const { return head_; }

 private:
  kernels::HeadArgs head_args() const;

  const ModelTensors& tensors_;
  const Recipe& recipe_;
  const int64_t module_;
  const StepView step_;
  kernels::ConstTensor x_, targets_;
  int64_t denominator_ = 1;
  kernels::NormSaved norm_;
  kernels::HeadSaved head_;
  kernels::Tensor loss_, dnormed_, dlogits_;
};

/// The input of MTP module `module`: embeds the tokens ahead and joins them with the hidden rows.
class MtpEnd {
 public:
  MtpEnd(const ModelTensors& tensors, const Recipe& recipe, int64_t module, StepView step)
      : tensors_(tensors), recipe_(recipe), module_(module), step_(step) {}

  /// h is [B * rows, D]; `ahead` is mtp_batch(main, module), rows - 1 a sequence.
  kernels::Tensor forward(kernels::Queue& queue, kernels::Scratch& scratch,
                          const kernels::ConstTensor& h, const MicroBatch& ahead);
  /// Gradient of h.
  kernels::Tensor backward(kernels::Queue& queue, kernels::Scratch& scratch,
                           const kernels::ConstTensor& dy);
  void backward_weights(kernels::Queue& queue, kernels::Scratch& unit_scratch) const;

 private:
  kernels::MtpArgs args() const;

  const ModelTensors& tensors_;
  const Recipe& recipe_;
  const int64_t module_;
  const StepView step_;
  kernels::ConstTensor h_, ids_, dy_;
  int64_t rows_ = 0;
  kernels::MtpSaved saved_;
  kernels::MtpDeltas deltas_;
};

}  // namespace troupe::actors
