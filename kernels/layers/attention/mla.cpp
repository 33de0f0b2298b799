#include "kernels/layers/attention/mla.h"

#include <algorithm>

#include "kernels/layers/attention/mla_projections.h"
#include "kernels/layers/attention/mla_sm90.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"
#include "kernels/ops/rounding.h"

namespace troupe::kernels {
namespace mla {

Tensor head_columns(const Tensor& t, int64_t heads, int64_t first, int64_t n) {
  return columns(reshape(t, {t.rows() * heads, t.cols() / heads}), first, n);
}
ConstTensor head_columns(const ConstTensor& t, int64_t heads, int64_t first, int64_t n) {
  return columns(reshape(t, {t.rows() * heads, t.cols() / heads}), first, n);
}

void project(Queue& queue, const MlaContext& context, const ConstTensor& x,
             const ConstTensor& weight, const Tensor& y) {
  linear_forward(queue, {.precision = context.precision, .scales = Scales::any, .x = x,
                         .weight = weight, .y = y});
}

void rotate(Queue& queue, const MlaContext& context, const Tensor& x, int64_t heads,
            const ConstTensor& positions, bool inverse) {
  rope(queue, {.x = x, .heads = heads, .positions = positions,
               .cosines = context.rope->cosines, .sines = context.rope->sines,
               .inverse = inverse, .y = x});
}

void expect_whole_sequences(const char* what, int64_t rows, int64_t sequence_rows) {
  if (sequence_rows > 0 && rows % sequence_rows == 0) return;
  throw KernelError(std::string(what) + ": " + std::to_string(rows) +
                    " rows are no whole number of " + std::to_string(sequence_rows) +
                    "-row sequences");
}

std::vector<AttentionSequence> whole_sequences(const ConstTensor& k, const ConstTensor& v,
                                               int64_t sequence_rows) {
  std::vector<AttentionSequence> sequences;
  for (int64_t row = 0; row < k.rows(); row += sequence_rows) {
    sequences.push_back({row, sequence_rows, 0,
                         {{row_range(k, row, sequence_rows)}, sequence_rows},
                         {{row_range(v, row, sequence_rows)}, sequence_rows}});
  }
  return sequences;
}

namespace {

/// Row numbers t, t, ... (H times) for t = 0 .. T-1: the one rotated key stands for every head.
Tensor repeat_index(Scratch& scratch, int64_t rows, int64_t heads) {
  const Tensor index = scratch.i32({rows * heads});
  for (int64_t i = 0; i < rows * heads; ++i) {
    values<int32_t>(index)[i] = static_cast<int32_t>(i / heads);
  }
  return index;
}

/// The sum over heads, in head order, of the rotated columns of dk: [T, R].
void sum_over_heads(Queue& queue, Scratch& scratch, const ModelShape& s, const Tensor& dk,
                    const Tensor& sum) {
  const int64_t T = dk.rows(), H = s.heads;
  const Tensor zero = scratch.i32({T, H});
  std::fill_n(values<int32_t>(zero), T * H, 0);
  const Tensor row = scratch.i32({T, H});
  for (int64_t i = 0; i < T * H; ++i) values<int32_t>(row)[i] = static_cast<int32_t>(i);
  combine_rows(queue, {.rows = {head_columns(dk, H, s.nope, s.rope)}, .source = zero, .row = row,
                       .group = zero, .weight = {}, .y = sum});
}

}  // namespace

void project_output(Queue& queue, const MlaContext& context, const ConstTensor& o,
                    const ConstTensor& weight, const Tensor& y) {
  linear_forward(queue, {.precision = context.precision, .scales = output_scales, .x = o,
                         .weight = weight, .y = y});
}

void keep_output(Queue& queue, const MlaContext& context, const Tensor& o) {
  if (!is_fp8(context.precision)) return;
  round_tiles(queue, {.x = o, .format = TileFormat::e5m6, .tile_rows = 1, .tile_cols = 128,
                      .power_of_two = true, .y = o});
}

void down_projections(Queue& queue, Scratch& scratch, const MlaContext& context,
                      const MlaWeights& weights, const ConstTensor& x, MlaSaved& saved) {
  const ModelShape& s = *context.shape;
  const int64_t T = x.rows();
  if (s.q_lora > 0) {
    saved.q_latent = scratch.f32({T, s.q_lora});
    project(queue, context, x, weights.q_a, saved.q_latent);
  }
  saved.kv_down = scratch.f32({T, s.kv_lora + s.rope});
  project(queue, context, x, weights.kv_a, saved.kv_down);
}

MlaUp query_and_latent(Queue& queue, Scratch& scratch, const MlaContext& context,
                       const MlaWeights& weights, const ConstTensor& x,
                       const ConstTensor& positions, const MlaSaved& saved) {
  const ModelShape& s = *context.shape;
  const int64_t T = x.rows();
  MlaUp up;
  up.q = scratch.f32({T, s.heads * s.query_width()});
  if (s.q_lora > 0) {
    up.q_inverse_rms = scratch.f32({T});
    up.q_normed = scratch.f32({T, s.q_lora});
    rms_norm(queue, {.x = saved.q_latent, .weight = weights.q_a_norm, .eps = s.rms_eps,
                     .y = up.q_normed, .inverse_rms = up.q_inverse_rms});
    project(queue, context, up.q_normed, weights.q_b, up.q);
  } else {
    project(queue, context, x, weights.q_b, up.q);
  }
  rotate(queue, context, head_columns(up.q, s.heads, s.nope, s.rope), s.heads, positions, false);

  up.kv_inverse_rms = scratch.f32({T});
  up.latent = scratch.f32({T, s.kv_lora + s.rope});
  rms_norm(queue, {.x = columns(saved.kv_down, 0, s.kv_lora), .weight = weights.kv_a_norm,
                   .eps = s.rms_eps, .y = columns(up.latent, 0, s.kv_lora),
                   .inverse_rms = up.kv_inverse_rms});
  const Tensor key = columns(up.latent, s.kv_lora, s.rope);
  copy(queue, {.x = columns(saved.kv_down, s.kv_lora, s.rope), .y = key});
  rotate(queue, context, key, 1, positions, false);
  return up;
}

void expand_latent(Queue& queue, const MlaContext& context, const MlaWeights& weights,
                   const ConstTensor& latent, const Tensor& k, const Tensor& v) {
  const ModelShape& s = *context.shape;
  const int64_t n = latent.rows(), H = s.heads;
  PassingScratch passing(queue);
  const Tensor kv = passing->f32({n, H * (s.nope + s.v_head)});
  project(queue, context, columns(latent, 0, s.kv_lora), weights.kv_b, kv);
  copy(queue, {.x = head_columns(kv, H, 0, s.nope), .y = head_columns(k, H, 0, s.nope)});
  copy(queue, {.x = head_columns(kv, H, s.nope, s.v_head), .y = head_columns(v, H, 0, s.v_head)});
  gather_rows(queue, {.x = columns(latent, s.kv_lora, s.rope),
                      .index = repeat_index(*passing, n, H),
                      .y = head_columns(k, H, s.nope, s.rope)});
}

}  // namespace mla

namespace {

MlaUp compute_up(Queue& queue, Scratch& scratch, const MlaContext& context,
                 const MlaWeights& weights, const ConstTensor& x, const ConstTensor& positions,
                 const MlaSaved& saved) {
  const ModelShape& s = *context.shape;
  MlaUp up = mla::query_and_latent(queue, scratch, context, weights, x, positions, saved);
  up.k = scratch.f32({x.rows(), s.heads * s.query_width()});
  up.v = scratch.f32({x.rows(), s.heads * s.v_head});
  mla::expand_latent(queue, context, weights, up.latent, up.k, up.v);
  return up;
}

}  // namespace

MlaSaved mla_forward(Queue& queue, Scratch& scratch, const MlaForwardArgs& args) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows();
  mla::expect_whole_sequences("mla_forward", T, args.sequence_rows);
  if (mla::is_of_tensor_cores(queue, args.context)) {
    return mla::forward_on_tensor_cores(queue, scratch, args);
  }
  MlaSaved saved;
  mla::down_projections(queue, scratch, args.context, args.weights, args.x, saved);
  PassingScratch passing(queue);
  const bool keeps_up = !args.context.recompute;
  const MlaUp up = compute_up(queue, keeps_up ? scratch : *passing, args.context, args.weights,
                              args.x, args.positions, saved);
  if (keeps_up) saved.up = up;
  saved.o = scratch.f32({T, s.heads * s.v_head});
  saved.log_sums = scratch.f32({T, s.heads});
  attention(queue, {.q = up.q, .heads = s.heads, .key_heads = s.heads,
                    .scale = args.context.scale,
                    .sequences = mla::whole_sequences(up.k, up.v, args.sequence_rows),
                    .o = saved.o, .log_sums = saved.log_sums});
  mla::project_output(queue, args.context, saved.o, args.weights.o, args.y);
  mla::keep_output(queue, args.context, saved.o);
  return saved;
}

MlaDeltas mla_backward_inputs(Queue& queue, Scratch& scratch, const MlaBackwardArgs& args,
                              MlaSaved& saved) {
  if (mla::is_of_tensor_cores(queue, args.context)) {
    return mla::backward_inputs_on_tensor_cores(queue, scratch, args, saved);
  }
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows(), H = s.heads;
  if (saved.up.q.data == nullptr) {
    saved.up = compute_up(queue, scratch, args.context, args.weights, args.x, args.positions,
                          saved);
  }
  const MlaUp& up = saved.up;
  const auto through = [&](const ConstTensor& dy, const ConstTensor& weight, const Tensor& dx,
                           bool add) {
    linear_backward_inputs(queue, {.precision = args.context.precision, .dy = dy, .weight = weight,
                                   .dx = dx, .add_to_dx = add});
  };
  PassingScratch passing(queue);
  const Tensor d_o = passing->f32({T, H * s.v_head});
  const Tensor dk = passing->f32({T, H * s.query_width()});
  const Tensor dv = passing->f32({T, H * s.v_head});
  MlaDeltas d;
  d.dq = scratch.f32({T, H * s.query_width()});
  through(args.dy, args.weights.o, d_o, false);
  attention_backward(queue, {.do_ = d_o, .q = up.q, .k = up.k, .v = up.v, .o = saved.o,
                             .log_sums = saved.log_sums, .sequence_rows = args.sequence_rows,
                             .heads = H, .key_heads = H, .scale = args.context.scale, .dq = d.dq,
                             .dk = dk, .dv = dv});

  d.dkv = scratch.f32({T, H * (s.nope + s.v_head)});
  copy(queue, {.x = mla::head_columns(dk, H, 0, s.nope),
               .y = mla::head_columns(d.dkv, H, 0, s.nope)});
  copy(queue, {.x = mla::head_columns(dv, H, 0, s.v_head),
               .y = mla::head_columns(d.dkv, H, s.nope, s.v_head)});
  d.dc = scratch.f32({T, s.kv_lora});
  d.dkv_down = scratch.f32({T, s.kv_lora + s.rope});
  through(d.dkv, args.weights.kv_b, d.dc, false);
  rms_norm_backward_inputs(queue, {.dy = d.dc, .x = columns(saved.kv_down, 0, s.kv_lora),
                                   .weight = args.weights.kv_a_norm,
                                   .inverse_rms = saved.up.kv_inverse_rms,
                                   .dx = columns(d.dkv_down, 0, s.kv_lora)});
  const Tensor dkey = columns(d.dkv_down, s.kv_lora, s.rope);
  mla::sum_over_heads(queue, *passing, s, dk, dkey);
  mla::rotate(queue, args.context, dkey, 1, args.positions, true);
  mla::rotate(queue, args.context, mla::head_columns(d.dq, H, s.nope, s.rope), H, args.positions,
              true);

  if (s.q_lora > 0) {
    d.dq_normed = scratch.f32({T, s.q_lora});
    d.dq_latent = scratch.f32({T, s.q_lora});
    through(d.dq, args.weights.q_b, d.dq_normed, false);
    rms_norm_backward_inputs(queue, {.dy = d.dq_normed, .x = saved.q_latent,
                                     .weight = args.weights.q_a_norm,
                                     .inverse_rms = saved.up.q_inverse_rms, .dx = d.dq_latent});
    through(d.dq_latent, args.weights.q_a, args.dx, false);
  } else {
    through(d.dq, args.weights.q_b, args.dx, false);
  }
  through(d.dkv_down, args.weights.kv_a, args.dx, true);
  return d;
}

void mla_backward_weights(Queue& queue, Scratch& scratch, const MlaBackwardArgs& args,
                          const MlaSaved& saved, const MlaDeltas& d, const MlaGradients& gradients) {
  const ModelShape& s = *args.context.shape;
  const auto matrix = [&](const ConstTensor& dy, const ConstTensor& x, const GradientSum& into,
                          Scales scales = Scales::any) {
    linear_backward_weights(queue, scratch, {.precision = args.context.precision, .scales = scales,
                                             .dy = dy, .x = x, .into = into});
  };
  const auto norm = [&](const ConstTensor& dy, const ConstTensor& x, const ConstTensor& inverse,
                        const GradientSum& into) {
    if (!into.is_wanted()) return;
    const Tensor unit = scratch.f32({x.cols()});
    rms_norm_backward_weights(queue, {.dy = dy, .x = x, .inverse_rms = inverse, .dweight = unit});
    add_unit(queue, into, unit);
  };
  norm(d.dc, columns(saved.kv_down, 0, s.kv_lora), saved.up.kv_inverse_rms, gradients.kv_a_norm);
  if (s.q_lora > 0) norm(d.dq_normed, saved.q_latent, saved.up.q_inverse_rms, gradients.q_a_norm);
  if (d.dy_codes.codes.data) return mla::backward_weights_in_codes(queue, args, saved, d, gradients);
  matrix(d.dy.data ? d.dy : args.dy, saved.o, gradients.o, mla::output_scales);
  matrix(d.dkv, columns(saved.up.latent, 0, s.kv_lora), gradients.kv_b);
  matrix(d.dkv_down, args.x, gradients.kv_a);
  if (s.q_lora > 0) {
    matrix(d.dq, saved.up.q_normed, gradients.q_b);
    matrix(d.dq_latent, args.x, gradients.q_a);
  } else {
    matrix(d.dq, args.x, gradients.q_b);
  }
}

}  // namespace troupe::kernels
