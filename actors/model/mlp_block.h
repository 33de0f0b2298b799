// What a stage computes of one layer and micro-batch around the routed experts: the norm before
// them, the dense MLP or the shared expert, and the residual sums.
#pragma once

#include "actors/model/tensors.h"

namespace troupe::actors {

/// Forward: normalise(x), forward_own(), finish_forward(routed sum). Backward: backward(dx), then
/// finish_backward(gradient from the router), then backward_weights. Layers without experts take
/// and give no routed tensors. Everything is enqueued; memory stays in `scratch` until the
/// micro-batch is done.
class MlpBlock {
 public:
  MlpBlock(const ModelTensors& tensors, const Recipe& recipe, int64_t layer, StepView step);

  /// x is [T, D], the stream behind attention. Computes normed().
  void normalise(kernels::Queue& queue, kernels::Scratch& scratch, const kernels::ConstTensor& x);
  const kernels::Tensor& normed() const { return norm_.y; }
  /// The dense MLP or the shared expert on normed().
  void forward_own(kernels::Queue& queue, kernels::Scratch& scratch);

  /// x + (routed + own), the shared expert last (law 2). `routed` has no data in a dense layer.
  kernels::Tensor finish_forward(kernels::Queue& queue, kernels::Scratch& scratch,
                                 const kernels::ConstTensor& routed);

  void backward(kernels::Queue& queue, kernels::Scratch& scratch, const kernels::ConstTensor& dy);
  /// dx = dy + norm'(routed gradient + own network's gradient).
  kernels::Tensor finish_backward(kernels::Queue& queue, kernels::Scratch& scratch,
                                  const kernels::ConstTensor& drouted);
  void backward_weights(kernels::Queue& queue, kernels::Scratch& unit_scratch) const;

 private:
  kernels::FfnBackwardArgs own_args() const;

  const ModelTensors& tensors_;
  const float eps_;
  const kernels::FfnOptions options_;
  const int64_t layer_;
  const StepView step_;
  kernels::ConstTensor x_, dy_;
  kernels::NormSaved norm_;
  kernels::FfnSaved ffn_;
  kernels::FfnDeltas deltas_;
  kernels::Tensor own_, down_, dnormed_;
};

}  // namespace troupe::actors
