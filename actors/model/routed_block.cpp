#include "actors/model/routed_block.h"

#include "kernels/permute.h"
#include "kernels/routing.h"

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Queue;
using kernels::Scratch;
using kernels::Tensor;

RoutedBlock::RoutedBlock(const ModelTensors& tensors, const Recipe& recipe, int64_t layer,
                         StepView step, std::vector<int> owner, int sources)
    : tensors_(tensors), recipe_(recipe), layer_(layer), step_(step), owner_(std::move(owner)),
      sources_(sources) {}

void RoutedBlock::choose(Queue& queue, Scratch& scratch, const ConstTensor& x,
                         const ConstTensor& bias, int64_t sequence_rows, int64_t step_sequences) {
  x_ = x;
  gate_ = kernels::moe_gate_forward(queue, scratch,
                                    {.shape = &recipe_.shape, .weight = tensors_.gate(layer_, step_),
                                     .bias = bias, .x = x});
  if (recipe_.balance == Balance::none || recipe_.balance_alpha == 0.0) return;
  // Mean over the step's sequences; over the micro-batch as one long sequence it is the mean over
  // micro-batches, each weighted by its sequences.
  const int64_t T = x.rows();
  const bool by_sequence = recipe_.balance == Balance::sequence;
  const double share = by_sequence ? 1.0 : static_cast<double>(T / sequence_rows);
  const int64_t rows = by_sequence ? sequence_rows : T;
  balance_losses_ = scratch.f32({T / rows});
  dscores_ = scratch.f32({T, recipe_.shape.experts});
  kernels::balance_loss(
      queue, {.scores = gate_.scores, .expert_ids = gate_.expert_ids, .sequence_rows = rows,
              .unbiased_choice = false,
              .scale = static_cast<float>(recipe_.balance_alpha * share /
                                          static_cast<double>(step_sequences)),
              .losses = balance_losses_, .dscores = dscores_});
}

std::vector<DispatchedRows> RoutedBlock::dispatch(Queue& queue, Scratch& scratch) {
  plan_ = kernels::plan_dispatch(gate_.expert_ids, owner_, sources_, recipe_.shape.groups);
  std::vector<DispatchedRows> out;
  for (const auto& source : plan_.sources) {
    out.push_back({source.offsets, scratch.f32({source.rows(), x_.cols()}), {}});
    kernels::gather_rows(queue, {.x = x_, .index = source.index, .y = out.back().rows});
  }
  return out;
}

Tensor RoutedBlock::combine(Queue& queue, Scratch& scratch, std::vector<ConstTensor> rows) {
  const Tensor y = scratch.f32({x_.rows(), x_.cols()});
  kernels::combine_rows(queue, {.rows = std::move(rows), .source = plan_.source, .row = plan_.row,
                                .group = plan_.group, .weight = gate_.weights, .y = y,
                                .rounds_groups = rounds_groups()});
  return y;
}

std::vector<DispatchedRows> RoutedBlock::dispatch_backward(Queue& queue, Scratch& scratch,
                                                           const ConstTensor& dy) {
  const int64_t slots = gate_.weights.count();
  std::vector<DispatchedRows> out;
  for (const auto& source : plan_.sources) {
    out.push_back({source.offsets, scratch.f32({source.rows(), dy.cols()}),
                   scratch.f32({source.rows()})});
    kernels::gather_rows(queue, {.x = dy, .index = source.index, .y = out.back().rows});
    kernels::gather_rows(queue, {.x = reshape(ConstTensor(gate_.weights), {slots, 1}),
                                 .index = source.slot,
                                 .y = reshape(out.back().weights, {source.rows(), 1})});
  }
  return out;
}

Tensor RoutedBlock::combine_backward(Queue& queue, Scratch& scratch, std::vector<ConstTensor> dx,
                                     std::vector<ConstTensor> dweights) {
  const int64_t T = x_.rows(), K = gate_.weights.cols(), slots = T * K;
  const Tensor through_experts = scratch.f32({T, x_.cols()});
  const Tensor through_gate = scratch.f32({T, x_.cols()});
  kernels::combine_rows(queue, {.rows = std::move(dx), .source = plan_.source, .row = plan_.row,
                                .group = plan_.group, .weight = {}, .y = through_experts,
                                .rounds_groups = rounds_groups()});
  // Back into slots: a "combine" of one row each.
  dweights_ = scratch.f32({T, K});
  for (ConstTensor& part : dweights) part = reshape(part, {part.count(), 1});
  const auto per_slot = [&](const kernels::Buffer& b) {
    return reshape(ConstTensor(b), {slots, 1});
  };
  kernels::combine_rows(queue, {.rows = std::move(dweights), .source = per_slot(plan_.source),
                                .row = per_slot(plan_.row), .group = per_slot(plan_.group),
                                .weight = {}, .y = reshape(dweights_, {slots, 1})});
  dlogits_ = kernels::moe_gate_backward_inputs(queue, scratch, gate_args(through_gate), gate_);
  kernels::add(queue, {.a = through_experts, .b = through_gate, .y = through_experts});
  return through_experts;
}

kernels::GateBackwardArgs RoutedBlock::gate_args(const Tensor& dx) const {
  return {.shape = &recipe_.shape, .weight = tensors_.gate(layer_, step_), .x = x_,
          .dweights = dweights_, .dscores = dscores_, .dx = dx};
}

void RoutedBlock::backward_weights(Queue& queue, Scratch& unit_scratch) const {
  kernels::moe_gate_backward_weights(queue, unit_scratch, gate_args({}), dlogits_,
                                     tensors_.gate_gradient(layer_, step_));
}

std::vector<int64_t> RoutedBlock::loads() const {
  std::vector<int64_t> loads(static_cast<size_t>(recipe_.shape.experts), 0);
  const int32_t* ids = kernels::values<int32_t>(gate_.expert_ids);
  for (int64_t i = 0; i < gate_.expert_ids.count(); ++i) ++loads[static_cast<size_t>(ids[i])];
  return loads;
}

float RoutedBlock::balance_loss() const {
  float sum = 0.0f;
  for (int64_t i = 0; i < balance_losses_.count() && balance_losses_.data; ++i) {
    sum += kernels::values<float>(balance_losses_)[i];
  }
  return sum;
}

}  // namespace troupe::actors
