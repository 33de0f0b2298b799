// What a router computes of one layer and micro-batch: the gate, the balance loss, rows to and
// from the holders of experts.
#pragma once

#include <vector>

#include "actors/model/tensors.h"
#include "kernels/layers/moe_gate.h"

namespace troupe::actors {

/// Rows for one holder of experts.
struct DispatchedRows {
  std::vector<int64_t> offsets;  ///< rows of each of its experts
  kernels::Tensor rows;          ///< [R, D]: x, or dy in backward
  kernels::Tensor weights;       ///< [R] routing weights; backward alone
};

/// Forward: choose, then (the queue has passed) dispatch, then combine. Backward: dispatch_backward,
/// combine_backward, backward_weights.
class RoutedBlock {
 public:
  /// `owner[e]` of `sources` holders has expert e.
  RoutedBlock(const ModelTensors& tensors, const Recipe& recipe, int64_t layer, StepView step,
              std::vector<int> owner, int sources);

  /// x is [T, D], normed; bias is [E]. `sequence_rows` and the step's number of sequences are for
  /// the balance loss.
  void choose(kernels::Queue& queue, kernels::Scratch& scratch, const kernels::ConstTensor& x,
              const kernels::ConstTensor& bias, int64_t sequence_rows, int64_t step_sequences);

  /// Needs the choice on the host. One entry a holder, empty ones too.
  std::vector<DispatchedRows> dispatch(kernels::Queue& queue, kernels::Scratch& scratch);

  /// The weighted sum of the experts' rows by law 2, [T, D].
  kernels::Tensor combine(kernels::Queue& queue, kernels::Scratch& scratch,
                          std::vector<kernels::ConstTensor> rows);

  std::vector<DispatchedRows> dispatch_backward(kernels::Queue& queue, kernels::Scratch& scratch,
                                                const kernels::ConstTensor& dy);
  /// Gradient of x, [T, D]: through the experts (law 2's order), then through the gate.
  kernels::Tensor combine_backward(kernels::Queue& queue, kernels::Scratch& scratch,
                                   std::vector<kernels::ConstTensor> dx,
                                   std::vector<kernels::ConstTensor> dweights);
  void backward_weights(kernels::Queue& queue, kernels::Scratch& unit_scratch) const;

  /// After the choice: tokens of each expert, [E] i64, and the balance loss as one number.
  std::vector<int64_t> loads() const;
  float balance_loss() const;
  const kernels::GateSaved& gate() const { return gate_; }

 private:
  /// Both combines are BF16 unless everything is FP32 (report section 3.3.3).
  bool rounds_groups() const { return recipe_.precision != kernels::Precision::fp32; }
  kernels::GateBackwardArgs gate_args(const kernels::Tensor& dx) const;

  const ModelTensors& tensors_;
  const Recipe& recipe_;
  const int64_t layer_;
  const StepView step_;
  const std::vector<int> owner_;
  const int sources_;
  kernels::ConstTensor x_;
  kernels::GateSaved gate_;
  kernels::Tensor balance_losses_, dscores_, dweights_, dlogits_;
  kernels::Dispatch plan_;
};

}  // namespace troupe::actors
