#include "kernels/layers/residual.h"

#include "kernels/layers/attention/mla_sm90.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels {
namespace {

MlaBackwardArgs mla_args(const AttentionBlockArgs& args, const AttentionBlockSaved& saved,
                         const ConstTensor& dy) {
  return {.context = args.context, .weights = args.weights.mla, .x = saved.norm.y,
          .positions = args.positions, .sequence_rows = args.sequence_rows, .dy = dy,
          .dx = saved.dnormed, .dx_more = saved.dnormed_more};
}

GqaBackwardArgs gqa_args(const AttentionBlockArgs& args, const AttentionBlockSaved& saved,
                         const ConstTensor& dy) {
  return {.context = args.context, .weights = args.weights.gqa, .x = saved.norm.y,
          .positions = args.positions, .sequence_rows = args.sequence_rows, .dy = dy,
          .dx = saved.dnormed};
}

NormSaved norm_of_type(Queue& queue, Scratch& scratch, const ConstTensor& x,
                       const ConstTensor& weight, float eps, DType type) {
  const NormSaved saved{scratch.of(type, {x.rows(), x.cols()}), scratch.f32({x.rows()})};
  rms_norm(queue, {.x = x, .weight = weight, .eps = eps, .y = saved.y,
                   .inverse_rms = saved.inverse_rms});
  return saved;
}

NormSaved input_norm(Queue& queue, Scratch& scratch, const AttentionBlockArgs& args) {
  // On tensor cores linear layers alone read it.
  const bool is_narrow = is_of_tensor_cores(queue, args.context.precision);
  return norm_of_type(queue, scratch, args.x, args.weights.input_norm,
                      args.context.shape->rms_eps, is_narrow ? DType::bf16 : DType::f32);
}

}  // namespace

NormSaved norm_forward(Queue& queue, Scratch& scratch, const ConstTensor& x,
                       const ConstTensor& weight, float eps) {
  return norm_of_type(queue, scratch, x, weight, eps, DType::f32);
}

void norm_backward_weights(Queue& queue, Scratch& scratch, const ConstTensor& dy,
                           const ConstTensor& x, const NormSaved& saved, const GradientSum& into,
                           const ConstTensor& dy_more) {
  if (!into.is_wanted()) return;
  const Tensor unit = scratch.f32({x.cols()});
  rms_norm_backward_weights(queue, {.dy = dy, .x = x, .inverse_rms = saved.inverse_rms,
                                    .dy_more = dy_more, .dweight = unit});
  add_unit(queue, into, unit);
}

AttentionBlockSaved attention_block_forward(Queue& queue, Scratch& scratch,
                                            const AttentionBlockArgs& args, const Tensor& y) {
  AttentionBlockSaved saved;
  PassingScratch passing(queue);
  const bool keeps_norm = !args.context.recompute;
  const NormSaved norm = input_norm(queue, keeps_norm ? scratch : *passing, args);
  if (keeps_norm) saved.norm = norm;
  if (args.context.shape->is_grouped()) {
    saved.gqa = gqa_forward(queue, scratch,
                            {.context = args.context, .weights = args.weights.gqa,
                             .x = norm.y, .positions = args.positions,
                             .sequence_rows = args.sequence_rows, .y = y});
  } else {
    saved.mla = mla_forward(queue, scratch,
                            {.context = args.context, .weights = args.weights.mla,
                             .x = norm.y, .positions = args.positions,
                             .sequence_rows = args.sequence_rows, .y = y});
  }
  add(queue, {.a = args.x, .b = y, .y = y});
  return saved;
}

void attention_block_backward_inputs(Queue& queue, Scratch& scratch,
                                     const AttentionBlockArgs& args, AttentionBlockSaved& saved,
                                     const ConstTensor& dy, const Tensor& dx) {
  if (saved.norm.y.data == nullptr) saved.norm = input_norm(queue, scratch, args);
  const bool is_in_parts = mla::is_of_tensor_cores(queue, args.context);
  saved.dnormed = scratch.of(is_in_parts ? DType::bf16 : DType::f32, {dy.rows(), dy.cols()});
  if (is_in_parts) saved.dnormed_more = scratch.of(DType::bf16, {dy.rows(), dy.cols()});
  if (args.context.shape->is_grouped()) {
    saved.gqa_deltas = gqa_backward_inputs(queue, scratch, gqa_args(args, saved, dy), saved.gqa);
  } else {
    saved.deltas = mla_backward_inputs(queue, scratch, mla_args(args, saved, dy), saved.mla);
  }
  rms_norm_backward_inputs(queue, {.dy = saved.dnormed, .x = args.x,
                                   .weight = args.weights.input_norm,
                                   .inverse_rms = saved.norm.inverse_rms, .residual = dy,
                                   .dy_more = saved.dnormed_more, .dx = dx});
}

void attention_block_backward_weights(Queue& queue, Scratch& scratch,
                                      const AttentionBlockArgs& args,
                                      const AttentionBlockSaved& saved, const ConstTensor& dy,
                                      const AttentionGradients& gradients) {
  norm_backward_weights(queue, scratch, saved.dnormed, args.x, saved.norm, gradients.input_norm,
                        saved.dnormed_more);
  if (args.context.shape->is_grouped()) {
    return gqa_backward_weights(queue, scratch, gqa_args(args, saved, dy), saved.gqa,
                                saved.gqa_deltas, gradients.gqa);
  }
  mla_backward_weights(queue, scratch, mla_args(args, saved, dy), saved.mla, saved.deltas,
                       gradients.mla);
}

void attention_block_cached(Queue& queue, Scratch& scratch, const CachedBlockArgs& args,
                            const Tensor& y) {
  const bool is_grouped = args.context.shape->is_grouped();
  if (is_grouped && args.form != AttentionForm::expanded) {
    throw KernelError("attention form absorbed: the model's attention is GQA, wanted MLA for it");
  }
  const NormSaved norm = norm_forward(queue, scratch, args.x, args.weights.input_norm,
                                      args.context.shape->rms_eps);
  if (is_grouped) {
    gqa_cached(queue, scratch, {.context = args.context, .weights = args.weights.gqa, .x = norm.y,
                                .positions = args.positions, .sequences = args.sequences, .y = y});
  } else {
    mla_cached(queue, scratch, {.context = args.context, .weights = args.weights.mla,
                                .form = args.form, .x = norm.y, .positions = args.positions,
                                .sequences = args.sequences, .y = y});
  }
  add(queue, {.a = args.x, .b = y, .y = y});
}

}  // namespace troupe::kernels
