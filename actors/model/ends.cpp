#include "actors/model/ends.h"

#include <algorithm>

#include "kernels/cuda/sm90/head_sm90.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/logits.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Queue;
using kernels::Scratch;
using kernels::Tensor;

Tensor EmbeddingEnd::forward(Queue& queue, Scratch& scratch, const MicroBatch& batch) {
  const ConstTensor weight = tensors_.embedding(step_);
  const Tensor y = scratch.f32({batch.inputs.view.count(), weight.cols()});
  kernels::embed(queue, {.ids = batch.inputs, .weight = weight, .y = y});
  return y;
}

void EmbeddingEnd::backward_weights(Queue& queue, Scratch& unit_scratch, const MicroBatch& batch,
                                    const ConstTensor& dy) const {
  const kernels::GradientSum into = tensors_.embedding_gradient(step_);
  if (!into.is_wanted()) return;
  const bool is_direct = queue.arithmetic() == kernels::Arithmetic::sm_90a && !into.watch;
  if (is_direct) return kernels::cuda::add_embedding_unit(queue, batch.inputs, dy, into);
  const ConstTensor weight = tensors_.embedding(step_);
  const Tensor unit = unit_scratch.f32({weight.rows(), weight.cols()});
  kernels::embed_backward_weights(queue, {.ids = batch.inputs, .dy = dy, .dweight = unit});
  kernels::add_unit(queue, into, unit);
}

kernels::HeadArgs HeadEnd::head_args() const {
  const double weight =
      module_ < 0 ? 1.0 : step_.mtp_weight / static_cast<double>(recipe_.shape.mtp_layers);
  return {.weight = tensors_.head(step_), .x = norm_.y, .targets = targets_,
          .scale = static_cast<float>(weight / static_cast<double>(denominator_))};
}

void HeadEnd::forward(Queue& queue, Scratch& scratch, const ConstTensor& x,
                      const ConstTensor& targets, int64_t denominator) {
  x_ = x;
  targets_ = targets;
  denominator_ = std::max<int64_t>(denominator, 1);
  norm_ = kernels::norm_forward(queue, scratch, x, tensors_.final_norm(module_, step_),
                                recipe_.shape.rms_eps);
  head_ = kernels::head_forward(queue, scratch, head_args());
  loss_ = scratch.shared(kernels::DType::f32, {1});
  kernels::sum_losses(queue, {.losses = head_.losses,
                              .scale = 1.0 / static_cast<double>(denominator_), .sum = loss_});
}

Tensor HeadEnd::backward(Queue& queue, Scratch& scratch, const ConstTensor& dnormed_from_mtp) {
  dnormed_ = scratch.f32({x_.rows(), x_.cols()});
  dlogits_ = kernels::head_backward_inputs(queue, scratch, head_args(), head_, dnormed_);
  if (dnormed_from_mtp.data != nullptr) {
    kernels::add(queue, {.a = dnormed_, .b = dnormed_from_mtp, .y = dnormed_});
  }
  const Tensor dx = scratch.f32({x_.rows(), x_.cols()});
  kernels::rms_norm_backward_inputs(
      queue, {.dy = dnormed_, .x = x_, .weight = tensors_.final_norm(module_, step_),
              .inverse_rms = norm_.inverse_rms, .dx = dx});
  return dx;
}

void HeadEnd::backward_weights(Queue& queue, Scratch& unit_scratch) const {
  kernels::norm_backward_weights(queue, unit_scratch, dnormed_, x_, norm_,
                                 tensors_.final_norm_gradient(module_, step_));
  kernels::head_backward_weights(queue, unit_scratch, head_args(), head_, dlogits_,
                                 tensors_.head_gradient(module_, step_));
}

float HeadEnd::loss() const { return kernels::values<float>(loss_)[0]; }

kernels::MtpArgs MtpEnd::args() const {
  return {.precision = recipe_.precision, .rms_eps = recipe_.shape.rms_eps,
          .weights = tensors_.mtp(module_, step_), .h = h_, .ids = ids_, .rows = rows_};
}

Tensor MtpEnd::forward(Queue& queue, Scratch& scratch, const ConstTensor& h,
                       const MicroBatch& ahead) {
  h_ = h;
  ids_ = ahead.inputs;
  rows_ = ahead.rows + 1;
  const Tensor y = scratch.f32({ids_.count(), h.cols()});
  saved_ = kernels::mtp_forward(queue, scratch, args(), y);
  return y;
}

Tensor MtpEnd::backward(Queue& queue, Scratch& scratch, const ConstTensor& dy) {
  dy_ = dy;
  const Tensor dh = scratch.f32({h_.rows(), h_.cols()});
  deltas_ = kernels::mtp_backward_inputs(queue, scratch, args(), saved_, dy, dh);
  return dh;
}

void MtpEnd::backward_weights(Queue& queue, Scratch& unit_scratch) const {
  kernels::mtp_backward_weights(queue, unit_scratch, args(), saved_, dy_, deltas_,
                                tensors_.mtp_gradients(module_, step_));
}

}  // namespace troupe::actors
