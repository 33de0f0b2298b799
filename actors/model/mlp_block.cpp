#include "actors/model/mlp_block.h"

#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Queue;
using kernels::Scratch;
using kernels::Tensor;

MlpBlock::MlpBlock(const ModelTensors& tensors, const Recipe& recipe, int64_t layer, StepView step)
    : tensors_(tensors), eps_(recipe.shape.rms_eps),
      options_(ffn_options(recipe, !recipe.shape.is_dense(layer))), layer_(layer), step_(step) {}

kernels::FfnBackwardArgs MlpBlock::own_args() const {
  return {.options = options_, .weights = {tensors_.own_ffn(layer_, step_)},
          .offsets = {0, x_.rows()}, .x = norm_.y, .dy = dy_, .dx = down_};
}

void MlpBlock::normalise(Queue& queue, Scratch& scratch, const ConstTensor& x) {
  x_ = x;
  norm_ = kernels::norm_forward(queue, scratch, x, tensors_.post_norm(layer_, step_), eps_);
}

void MlpBlock::forward_own(Queue& queue, Scratch& scratch) {
  if (!tensors_.has_own_ffn(layer_)) return;
  own_ = scratch.f32({x_.rows(), x_.cols()});
  ffn_ = kernels::ffn_forward(queue, scratch,
                              {.options = options_, .weights = {tensors_.own_ffn(layer_, step_)},
                               .offsets = {0, x_.rows()}, .x = norm_.y, .y = own_});
}

Tensor MlpBlock::finish_forward(Queue& queue, Scratch& scratch, const ConstTensor& routed) {
  // In the place of the own part, which backward does not read.
  const Tensor y = own_.data != nullptr ? own_ : scratch.f32({x_.rows(), x_.cols()});
  if (routed.data == nullptr) {
    kernels::add(queue, {.a = x_, .b = own_, .y = y});
  } else if (own_.data == nullptr) {
    kernels::add(queue, {.a = x_, .b = routed, .y = y});
  } else {
    kernels::add(queue, {.a = routed, .b = own_, .onto = x_, .y = y});
  }
  return y;
}

void MlpBlock::backward(Queue& queue, Scratch& scratch, const ConstTensor& dy) {
  dy_ = dy;
  if (!tensors_.has_own_ffn(layer_)) return;
  down_ = scratch.f32({dy.rows(), dy.cols()});
  deltas_ = kernels::ffn_backward_inputs(queue, scratch, own_args(), ffn_);
}

Tensor MlpBlock::finish_backward(Queue& queue, Scratch& scratch, const ConstTensor& drouted) {
  dnormed_ = scratch.f32({dy_.rows(), dy_.cols()});
  if (drouted.data != nullptr && down_.data != nullptr) {
    kernels::add(queue, {.a = drouted, .b = down_, .y = dnormed_});
  } else {
    kernels::copy(queue, {.x = drouted.data != nullptr ? drouted : ConstTensor(down_),
                          .y = dnormed_});
  }
  const Tensor dx = scratch.f32({dy_.rows(), dy_.cols()});
  kernels::rms_norm_backward_inputs(
      queue, {.dy = dnormed_, .x = x_, .weight = tensors_.post_norm(layer_, step_),
              .inverse_rms = norm_.inverse_rms, .residual = dy_, .dx = dx});
  return dx;
}

void MlpBlock::backward_weights(Queue& queue, Scratch& unit_scratch) const {
  kernels::norm_backward_weights(queue, unit_scratch, dnormed_, x_, norm_,
                                 tensors_.post_norm_gradient(layer_, step_));
  if (!tensors_.has_own_ffn(layer_)) return;
  kernels::ffn_backward_weights(queue, unit_scratch, own_args(), ffn_, deltas_,
                                {tensors_.own_ffn_gradients(layer_, step_)});
}

}  // namespace troupe::actors
