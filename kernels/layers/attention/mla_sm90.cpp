#include "kernels/layers/attention/mla_sm90.h"

#include "kernels/cuda/attention/mla_attention.h"
#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/cuda/gemm/products_fp8.h"
#include "kernels/layers/attention/mla_projections.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels::mla {
namespace {

Tensor bf16(Scratch& scratch, int64_t rows, int64_t cols) {
  return scratch.of(DType::bf16, {rows, cols});
}

constexpr cuda::Fp8Scaling of_activations{.power_of_two = false, .least_amax = least_activation};
constexpr cuda::Fp8Scaling of_outputs{.power_of_two = output_scales == Scales::powers_of_two,
                                      .least_amax = least_activation};
constexpr cuda::Fp8Scaling of_gradients{.power_of_two = false, .least_amax = least_gradient};

/// Whether operands of several products are quantized once: in fp8, where every width is that of codes. Without
/// promotion, which is there to be compared with, products go one by one.
bool goes_in_codes(const MlaContext& context, int64_t hidden) {
  const ModelShape& s = *context.shape;
  const auto is_whole = [](int64_t width) { return width % 16 == 0; };
  return context.precision == Precision::fp8 && s.q_lora > 0 && is_whole(hidden) && is_whole(s.q_lora) &&
         is_whole(s.kv_lora);
}

/// Rows in codes times a weight, transposed (forward) or as stored (backward).
void multiply_codes(Queue& queue, const cuda::Fp8Rows& x, const ConstTensor& weight, bool forward,
                    const Tensor& y) {
  PassingScratch passing(queue);
  const std::vector<int64_t> offsets{0, y.rows()};
  cuda::multiply_fp8(
      queue, *passing,
      {.a = x,
       .b = cuda::quantize_matrices(queue, *passing, {{weight}, of_activations, forward}, offsets),
       .groups = {offsets, nullptr, nullptr, 0},
       .c = y,
       .promotes = true});
}

/// q_latent and kv_down.
void down_projections_bf16(Queue& queue, Scratch& scratch, const MlaForwardArgs& args, MlaSaved& saved) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows();
  if (s.q_lora > 0) saved.q_latent = bf16(scratch, T, s.q_lora);
  saved.kv_down = bf16(scratch, T, s.kv_lora + s.rope);
  if (goes_in_codes(args.context, args.x.cols())) {
    PassingScratch passing(queue);
    const cuda::Fp8Rows x = cuda::quantize_rows(
        queue, *passing, cuda::fp8_source(queue, *passing, args.x), of_activations);
    multiply_codes(queue, x, args.weights.q_a, true, saved.q_latent);
    return multiply_codes(queue, x, args.weights.kv_a, true, saved.kv_down);
  }
  if (s.q_lora > 0) project(queue, args.context, args.x, args.weights.q_a, saved.q_latent);
  project(queue, args.context, args.x, args.weights.kv_a, saved.kv_down);
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
  down_projections_bf16(queue, scratch, args, saved);
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
  PassingScratch passing(queue);
  const bool in_codes = goes_in_codes(args.context, args.x.cols());
  MlaDeltas d;
  if (in_codes) d.groups = cuda::fp8_groups(queue, scratch, {0, T});
  // What the weight's gradient reads of dy is its codes, made with those of rows, or dy itself.
  Scratch& kept = in_codes ? *passing : scratch;
  const auto through = [&](const ConstTensor& dy, const ConstTensor& weight, const Tensor& dx) {
    if (!in_codes) {
      linear_backward_inputs(queue, {.precision = args.context.precision,
                                     .dy = dy,
                                     .weight = weight,
                                     .dx = dx,
                                     .add_to_dx = false});
      return cuda::Fp8Columns{};
    }
    PassingScratch its(queue);
    const auto [rows, columns] = cuda::quantize_both(queue, scratch, *its, dy, of_gradients, d.groups);
    multiply_codes(queue, rows, weight, false, dx);
    return columns;
  };
  const Tensor d_o = bf16(*passing, T, H * s.v_head);
  d.dq = bf16(kept, T, H * s.query_width());
  d.dkv = bf16(kept, T, H * (s.nope + s.v_head));
  d.dc = bf16(scratch, T, s.kv_lora);
  d.dkv_down = bf16(kept, T, s.kv_lora + s.rope);
  const Tensor dkey = columns(d.dkv_down, s.kv_lora, s.rope);
  d.dy = cuda::bf16_operand(queue, kept, args.dy);
  d.dy_codes = through(d.dy, args.weights.o, d_o);
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
  d.dkv_codes = through(d.dkv, args.weights.kv_b, d.dc);
  rms_norm_backward_inputs(queue, {.dy = d.dc,
                                   .x = columns(saved.kv_down, 0, s.kv_lora),
                                   .weight = args.weights.kv_a_norm,
                                   .inverse_rms = up.kv_inverse_rms,
                                   .dx = columns(d.dkv_down, 0, s.kv_lora)});
  if (s.q_lora > 0) {
    d.dq_normed = bf16(scratch, T, s.q_lora);
    d.dq_latent = bf16(kept, T, s.q_lora);
    d.dq_codes = through(d.dq, args.weights.q_b, d.dq_normed);
    rms_norm_backward_inputs(queue, {.dy = d.dq_normed,
                                     .x = saved.q_latent,
                                     .weight = args.weights.q_a_norm,
                                     .inverse_rms = up.q_inverse_rms,
                                     .dx = d.dq_latent});
    d.dq_latent_codes = through(d.dq_latent, args.weights.q_a, args.dx);
  } else {
    through(d.dq, args.weights.q_b, args.dx);
  }
  const bool is_in_parts = args.dx_more.data != nullptr;
  const Tensor dx_more = is_in_parts ? args.dx_more : passing->of(args.dx.dtype, {T, args.dx.cols()});
  d.dkv_down_codes = through(d.dkv_down, args.weights.kv_a, dx_more);
  if (!is_in_parts) add(queue, {.a = args.dx, .b = dx_more, .y = args.dx});
  if (in_codes) {
    d.dq = d.dq_latent = d.dkv = d.dkv_down = {};
    d.dy = {};
  }
  return d;
}

void backward_weights_in_codes(Queue& queue, const MlaBackwardArgs& args, const MlaSaved& saved,
                               const MlaDeltas& d, const MlaGradients& gradients) {
  PassingScratch passing(queue);
  const auto columns_of = [&](Scratch& scratch, const ConstTensor& x, const cuda::Fp8Scaling& scaling) {
    return cuda::quantize_columns(queue, scratch, cuda::fp8_source(queue, scratch, x), scaling, d.groups);
  };
  const auto add_unit = [&](const cuda::Fp8Columns& dy, const cuda::Fp8Columns& x, const GradientSum& into) {
    PassingScratch its(queue);
    cuda::add_weights_fp8(queue, *its, {.a = dy, .b = x, .groups = d.groups, .into = {into},
                                          .promotes = true});
  };
  const auto add_unit_of = [&](const cuda::Fp8Columns& dy, const ConstTensor& x,
                               const cuda::Fp8Scaling& scaling, const GradientSum& into) {
    if (!into.is_wanted()) return;
    PassingScratch its(queue);
    add_unit(dy, columns_of(*its, x, scaling), into);
  };
  add_unit_of(d.dy_codes, saved.o, of_outputs, gradients.o);
  add_unit_of(d.dkv_codes, columns(saved.up.latent, 0, args.context.shape->kv_lora), of_activations,
              gradients.kv_b);
  add_unit_of(d.dq_codes, saved.up.q_normed, of_activations, gradients.q_b);
  if (!gradients.kv_a.is_wanted() && !gradients.q_a.is_wanted()) return;
  const cuda::Fp8Columns x = columns_of(*passing, args.x, of_activations);
  if (gradients.kv_a.is_wanted()) add_unit(d.dkv_down_codes, x, gradients.kv_a);
  if (gradients.q_a.is_wanted()) add_unit(d.dq_latent_codes, x, gradients.q_a);
}

}  // namespace troupe::kernels::mla
