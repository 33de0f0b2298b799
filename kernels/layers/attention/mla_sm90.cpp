#include "kernels/layers/attention/mla_sm90.h"

#include "kernels/cuda/attention/mla_attention.h"
#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/layers/attention/mla_projections.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels::mla {
namespace {

Tensor bf16(Scratch& scratch, int64_t rows, int64_t cols) {
  return scratch.of(DType::bf16, {rows, cols});
}

/// Query, latent, keys and values from the down-projections.
MlaUp compute_up(Queue& queue, Scratch& scratch, const MlaContext& context,
                 const MlaWeights& weights, const ConstTensor& x, const ConstTensor& positions,
                 const MlaSaved& saved) {
  const ModelShape& s = *context.shape;
  const int64_t T = x.rows(), H = s.heads;
  MlaUp up;
  up.q = bf16(scratch, T, H * s.query_width());
  if (s.q_lora > 0) {
    up.q_inverse_rms = scratch.f32({T});
    up.q_normed = bf16(scratch, T, s.q_lora);
    rms_norm(queue, {.x = saved.q_latent,
                     .weight = weights.q_a_norm,
                     .eps = s.rms_eps,
                     .y = up.q_normed,
                     .inverse_rms = up.q_inverse_rms});
    project(queue, context, up.q_normed, weights.q_b, up.q);
  } else {
    project(queue, context, x, weights.q_b, up.q);
  }
  rotate(queue, context, head_columns(up.q, H, s.nope, s.rope), H, positions, false);

  up.kv_inverse_rms = scratch.f32({T});
  up.latent = bf16(scratch, T, s.kv_lora + s.rope);
  rms_norm(queue, {.x = columns(saved.kv_down, 0, s.kv_lora),
                   .weight = weights.kv_a_norm,
                   .eps = s.rms_eps,
                   .y = columns(up.latent, 0, s.kv_lora),
                   .inverse_rms = up.kv_inverse_rms});
  const Tensor key = columns(up.latent, s.kv_lora, s.rope);
  copy(queue, {.x = columns(saved.kv_down, s.kv_lora, s.rope), .y = key});
  rotate(queue, context, key, 1, positions, false);
  up.k = bf16(scratch, T, H * (s.nope + s.v_head));
  project(queue, context, columns(up.latent, 0, s.kv_lora), weights.kv_b, up.k);
  return up;
}

}  // namespace

bool is_of_tensor_cores(const Queue& queue, const MlaContext& context) {
  const ModelShape& s = *context.shape;
  return kernels::is_of_tensor_cores(queue, context.precision) && s.nope == cuda::mla_nope &&
         s.rope == cuda::mla_rope && s.v_head == cuda::mla_v_head && s.kv_lora % 8 == 0 &&
         s.q_lora % 8 == 0;
}

MlaSaved forward_on_tensor_cores(Queue& queue, Scratch& scratch, const MlaForwardArgs& args) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows(), H = s.heads;
  MlaSaved saved;
  if (s.q_lora > 0) {
    saved.q_latent = bf16(scratch, T, s.q_lora);
    project(queue, args.context, args.x, args.weights.q_a, saved.q_latent);
  }
  saved.kv_down = bf16(scratch, T, s.kv_lora + s.rope);
  project(queue, args.context, args.x, args.weights.kv_a, saved.kv_down);
  PassingScratch passing(queue);
  const bool keeps_up = !args.context.recompute;
  const MlaUp up = compute_up(queue, keeps_up ? scratch : *passing, args.context, args.weights,
                              args.x, args.positions, saved);
  if (keeps_up) saved.up = up;
  saved.o = bf16(scratch, T, H * s.v_head);
  saved.log_sums = scratch.f32({H, T});
  cuda::mla_attention(queue, *passing,
                      {.q = up.q,
                       .kv = up.k,
                       .key = columns(up.latent, s.kv_lora, s.rope),
                       .heads = H,
                       .sequence_rows = args.sequence_rows,
                       .scale = args.context.scale,
                       .o = saved.o,
                       .log_sums = saved.log_sums});
  project_output(queue, args.context, saved.o, args.weights.o, args.y);
  keep_output(queue, args.context, saved.o);
  return saved;
}

MlaDeltas backward_inputs_on_tensor_cores(Queue& queue, Scratch& scratch,
                                          const MlaBackwardArgs& args, MlaSaved& saved) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows(), H = s.heads;
  if (saved.up.q.data == nullptr) {
    saved.up =
        compute_up(queue, scratch, args.context, args.weights, args.x, args.positions, saved);
  }
  const MlaUp& up = saved.up;
  const auto through = [&](const ConstTensor& dy, const ConstTensor& weight, const Tensor& dx,
                           bool add) {
    linear_backward_inputs(queue, {.precision = args.context.precision,
                                   .dy = dy,
                                   .weight = weight,
                                   .dx = dx,
                                   .add_to_dx = add});
  };
  PassingScratch passing(queue);
  const Tensor d_o = bf16(*passing, T, H * s.v_head);
  MlaDeltas d;
  d.dq = bf16(scratch, T, H * s.query_width());
  d.dkv = bf16(scratch, T, H * (s.nope + s.v_head));
  d.dc = bf16(scratch, T, s.kv_lora);
  d.dkv_down = bf16(scratch, T, s.kv_lora + s.rope);
  const Tensor dkey = columns(d.dkv_down, s.kv_lora, s.rope);
  d.dy = cuda::bf16_operand(queue, scratch, args.dy);
  through(d.dy, args.weights.o, d_o, false);
  cuda::mla_attention_backward(queue, *passing,
                               {.do_ = d_o,
                                .q = up.q,
                                .kv = up.k,
                                .key = columns(up.latent, s.kv_lora, s.rope),
                                .o = saved.o,
                                .log_sums = saved.log_sums,
                                .heads = H,
                                .sequence_rows = args.sequence_rows,
                                .scale = args.context.scale,
                                .dq = d.dq,
                                .dkv = d.dkv,
                                .dkey = dkey});
  rotate(queue, args.context, dkey, 1, args.positions, true);
  rotate(queue, args.context, head_columns(d.dq, H, s.nope, s.rope), H, args.positions, true);
  through(d.dkv, args.weights.kv_b, d.dc, false);
  rms_norm_backward_inputs(queue, {.dy = d.dc,
                                   .x = columns(saved.kv_down, 0, s.kv_lora),
                                   .weight = args.weights.kv_a_norm,
                                   .inverse_rms = up.kv_inverse_rms,
                                   .dx = columns(d.dkv_down, 0, s.kv_lora)});
  if (s.q_lora > 0) {
    d.dq_normed = bf16(scratch, T, s.q_lora);
    d.dq_latent = bf16(scratch, T, s.q_lora);
    through(d.dq, args.weights.q_b, d.dq_normed, false);
    rms_norm_backward_inputs(queue, {.dy = d.dq_normed,
                                     .x = saved.q_latent,
                                     .weight = args.weights.q_a_norm,
                                     .inverse_rms = up.q_inverse_rms,
                                     .dx = d.dq_latent});
    through(d.dq_latent, args.weights.q_a, args.dx, false);
  } else {
    through(d.dq, args.weights.q_b, args.dx, false);
  }
  through(d.dkv_down, args.weights.kv_a, args.dx, true);
  return d;
}

}  // namespace troupe::kernels::mla
