#include "kernels/layers/ffn.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/layers/ffn_codes.h"
#include "kernels/ops/permute.h"
#include "kernels/ops/rounding.h"
#include "kernels/ops/swiglu.h"

namespace troupe::kernels {
namespace {

/// Of rows that are dispatched to experts, and of their gradients.
Scales dispatch_scales(const FfnOptions& options) {
  return options.is_moe ? Scales::powers_of_two : Scales::any;
}

template <class Member>
std::vector<ConstTensor> matrices(const std::vector<FfnWeights>& weights, Member member) {
  std::vector<ConstTensor> out;
  for (const FfnWeights& w : weights) out.push_back(w.*member);
  return out;
}

/// fp8 alone: what stays of gate and up is their E4M3 copy, and `activated` follows from that.
bool keeps_e4m3(const FfnOptions& options) {
  return options.is_moe && is_fp8(options.precision);
}

constexpr cuda::Fp8Scaling kept_scaling{.power_of_two = false, .least_amax = least_activation};

/// Memory for gate and up side by side, which can be kept in E4M3.
Tensor place_of_both(Queue& queue, Scratch& scratch, int64_t R, int64_t F) {
  const int64_t width = (2 * F + 15) / 16 * 16;
  const Tensor both = scratch.of(DType::bf16, {R, width});
  if (width != 2 * F) set_zero(queue, {.y = both});
  return both;
}

FfnCodesArgs codes_args(const FfnOptions& options, const std::vector<FfnWeights>& weights,
                        const FfnSaved& saved) {
  return {.precision = options.precision, .weights = weights, .groups = saved.groups};
}

FfnSaved forward_in_codes(Queue& queue, Scratch& scratch, const FfnForwardArgs& args) {
  FfnSaved saved;
  saved.groups = cuda::fp8_groups(queue, scratch, args.offsets);
  PassingScratch passing(queue);
  const cuda::Fp8Rows x = cuda::quantize_rows(
      queue, *passing, cuda::fp8_source(queue, *passing, args.x), dispatched_activations);
  saved.codes = ffn_codes_forward(queue, scratch, codes_args(args.options, args.weights, saved), x, args.y);
  return saved;
}

FfnDeltas backward_inputs_in_codes(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                                   const FfnSaved& saved) {
  PassingScratch passing(queue);
  const ConstTensor dy = cuda::fp8_source(queue, *passing, args.dy);
  const auto [rows, columns] =
      cuda::quantize_both(queue, scratch, *passing, dy, dispatched_gradients, saved.groups);
  FfnDeltas deltas = ffn_codes_backward_inputs(
      queue, scratch, codes_args(args.options, args.weights, saved), saved.codes, rows, args.dx);
  deltas.dy_codes = columns;
  return deltas;
}

void backward_weights_in_codes(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                               const FfnSaved& saved, const FfnDeltas& deltas,
                               const std::vector<FfnGradients>& gradients) {
  const cuda::Fp8Columns x =
      cuda::quantize_columns(queue, scratch, cuda::fp8_source(queue, scratch, args.x),
                             dispatched_activations, saved.groups);
  ffn_codes_backward_weights(queue, codes_args(args.options, args.weights, saved), x, deltas, gradients);
}

/// Everything between the products is bf16. gate and up are the halves of one tensor.
FfnSaved forward_on_tensor_cores(Queue& queue, Scratch& scratch, const FfnForwardArgs& args) {
  const int64_t R = args.x.rows(), F = args.weights[0].gate.rows();
  const bool keeps_codes = keeps_e4m3(args.options);
  const bool keeps_activated = !args.options.recompute && !keeps_codes;
  PassingScratch passing(queue);
  const Tensor both = place_of_both(queue, keeps_codes ? *passing : scratch, R, F);
  const Tensor gate = columns(both, 0, F), up = columns(both, F, F);
  const Tensor activated = cuda::bf16_place(keeps_activated ? scratch : *passing, R, F);
  grouped_linear_forward(queue, {.precision = args.options.precision,
                                 .scales = dispatch_scales(args.options), .x = args.x,
                                 .weights = gates_and_ups(queue, *passing, args.weights, args.offsets),
                                 .offsets = args.offsets, .y = columns(both, 0, 2 * F)});
  swiglu(queue, {.gate = gate, .up = up, .y = activated});
  grouped_linear_forward(queue, {.precision = args.options.precision, .scales = Scales::any,
                                 .x = activated,
                                 .weights = downs(queue, *passing, args.weights, args.offsets),
                                 .offsets = args.offsets, .y = args.y});
  FfnSaved saved;
  if (keeps_codes) {
    saved.codes = cuda::quantize_rows(queue, scratch, both, kept_scaling);
    return saved;
  }
  saved.gate = gate;
  saved.up = up;
  if (keeps_activated) saved.activated = activated;
  return saved;
}

/// dx is one product over both halves: rounded once.
FfnDeltas backward_inputs_on_tensor_cores(Queue& queue, Scratch& scratch,
                                          const FfnBackwardArgs& args, const FfnSaved& saved) {
  const int64_t R = args.x.rows(), F = args.weights[0].gate.rows();
  const bool kept_codes = keeps_e4m3(args.options);
  PassingScratch passing(queue);
  const Tensor dboth = cuda::bf16_place(scratch, R, 2 * F);
  FfnDeltas deltas{columns(dboth, 0, F), columns(dboth, F, F), {}, cuda::bf16_operand(queue, scratch, args.dy)};
  Tensor gate = saved.gate, up = saved.up;
  if (kept_codes) {
    const Tensor both = place_of_both(queue, *passing, R, F);
    cuda::read_fp8(queue, saved.codes, both);
    gate = columns(both, 0, F);
    up = columns(both, F, F);
    deltas.activated = cuda::bf16_place(scratch, R, F);
    swiglu(queue, {.gate = gate, .up = up, .y = deltas.activated});
  }
  const Tensor dactivated = passing->of(DType::bf16, {R, F});
  grouped_linear_backward_inputs(
      queue, {.precision = args.options.precision, .scales = dispatch_scales(args.options),
              .dy = deltas.dy, .weights = downs(queue, *passing, args.weights, args.offsets),
              .offsets = args.offsets, .dx = dactivated});
  swiglu_backward(queue, {.dy = dactivated, .gate = gate, .up = up, .dgate = deltas.dgate,
                          .dup = deltas.dup});
  grouped_linear_backward_inputs(
      queue, {.precision = args.options.precision, .scales = Scales::any, .dy = dboth,
              .weights = gates_and_ups(queue, *passing, args.weights, args.offsets),
              .offsets = args.offsets, .dx = args.dx});
  return deltas;
}

/// Whether the gradients of gate and up are one product, which quantizes x once.
bool are_one_product(const Queue& queue, const FfnOptions& options, const FfnDeltas& deltas,
                     const std::vector<FfnGradients>& gradients) {
  const auto are_alike = [](const FfnGradients& g) {
    return g.gate.is_wanted() && g.up.is_wanted() && !g.gate.watch == !g.up.watch;
  };
  return is_fp8(options.precision) && is_of_tensor_cores(queue, options.precision) &&
         deltas.dgate.cols() % 128 == 0 &&
         std::all_of(gradients.begin(), gradients.end(), are_alike);
}

/// The halves of one tensor.
Tensor side_by_side(const FfnDeltas& deltas) {
  Tensor both = deltas.dgate;
  both.shape[1] *= 2;
  return both;
}

}  // namespace

FfnSaved ffn_forward(Queue& queue, Scratch& scratch, const FfnForwardArgs& args) {
  if (args.weights.empty()) return {};
  if (goes_in_codes(queue, args.options, args.weights[0])) {
    return forward_in_codes(queue, scratch, args);
  }
  if (is_of_tensor_cores(queue, args.options.precision)) {
    return forward_on_tensor_cores(queue, scratch, args);
  }
  const int64_t R = args.x.rows(), F = args.weights[0].gate.rows();
  const bool keeps_activated = !args.options.recompute && !keeps_e4m3(args.options);
  PassingScratch passing(queue);
  FfnSaved saved{scratch.f32({R, F}), scratch.f32({R, F}), {}, {}};
  const Tensor activated = (keeps_activated ? scratch : *passing).f32({R, F});
  const auto through = [&](const ConstTensor& x, auto member, Scales scales, const Tensor& y) {
    grouped_linear_forward(queue, {.precision = args.options.precision, .scales = scales, .x = x,
                                   .weights = matrices(args.weights, member),
                                   .offsets = args.offsets, .y = y});
  };
  through(args.x, &FfnWeights::gate, dispatch_scales(args.options), saved.gate);
  through(args.x, &FfnWeights::up, dispatch_scales(args.options), saved.up);
  swiglu(queue, {.gate = saved.gate, .up = saved.up, .y = activated});
  through(activated, &FfnWeights::down, Scales::any, args.y);
  if (keeps_activated) saved.activated = activated;
  if (keeps_e4m3(args.options)) {
    for (const Tensor& input : {saved.gate, saved.up}) {
      round_tiles(queue, {.x = input, .format = TileFormat::e4m3, .tile_rows = 1,
                          .tile_cols = 128, .power_of_two = false, .y = input});
    }
  }
  return saved;
}

FfnDeltas ffn_backward_inputs(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                              const FfnSaved& saved) {
  if (args.weights.empty()) return {};
  if (goes_in_codes(queue, args.options, args.weights[0])) {
    return backward_inputs_in_codes(queue, scratch, args, saved);
  }
  if (is_of_tensor_cores(queue, args.options.precision)) {
    return backward_inputs_on_tensor_cores(queue, scratch, args, saved);
  }
  const int64_t R = args.x.rows(), D = args.x.cols(), F = saved.gate.cols();
  const FfnDeltas deltas{scratch.f32({R, F}), scratch.f32({R, F}), {}, {}};
  PassingScratch passing(queue);
  const Tensor dactivated = passing->f32({R, F}), dx_up = passing->f32({R, D});
  const auto back_through = [&](const ConstTensor& dy, auto member, Scales scales,
                                const Tensor& dx) {
    grouped_linear_backward_inputs(queue, {.precision = args.options.precision, .scales = scales,
                                           .dy = dy, .weights = matrices(args.weights, member),
                                           .offsets = args.offsets, .dx = dx});
  };
  back_through(args.dy, &FfnWeights::down, dispatch_scales(args.options), dactivated);
  swiglu_backward(queue, {.dy = dactivated, .gate = saved.gate, .up = saved.up,
                          .dgate = deltas.dgate, .dup = deltas.dup});
  back_through(deltas.dgate, &FfnWeights::gate, Scales::any, args.dx);
  back_through(deltas.dup, &FfnWeights::up, Scales::any, dx_up);
  add(queue, {.a = args.dx, .b = dx_up, .y = args.dx});
  return deltas;
}

void ffn_backward_weights(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                          const FfnSaved& saved, const FfnDeltas& deltas,
                          const std::vector<FfnGradients>& gradients) {
  if (gradients.empty()) return;
  if (goes_in_codes(queue, args.options, args.weights[0])) {
    return backward_weights_in_codes(queue, scratch, args, saved, deltas, gradients);
  }
  const auto add_units = [&](const ConstTensor& dy, Scales dy_scales, const ConstTensor& x,
                             Scales x_scales, auto member) {
    std::vector<GradientSum> into;
    for (const FfnGradients& g : gradients) into.push_back(g.*member);
    grouped_linear_backward_weights(
        queue, scratch, {.precision = args.options.precision, .dy_scales = dy_scales,
                         .x_scales = x_scales, .dy = dy, .x = x, .offsets = args.offsets,
                         .into = std::move(into)});
  };
  Tensor activated = deltas.activated.data != nullptr ? deltas.activated : saved.activated;
  if (activated.data == nullptr) {
    activated = scratch.of(saved.gate.dtype, {saved.gate.rows(), saved.gate.cols()});
    swiglu(queue, {.gate = saved.gate, .up = saved.up, .y = activated});
  }
  const Scales dispatched = dispatch_scales(args.options);
  const bool are_operands = is_of_tensor_cores(queue, args.options.precision);
  const ConstTensor dy = are_operands ? deltas.dy : args.dy;
  const ConstTensor x = are_operands ? cuda::bf16_operand(queue, scratch, args.x) : args.x;  // once for both
  add_units(dy, dispatched, activated, Scales::any, &FfnGradients::down);
  if (are_one_product(queue, args.options, deltas, gradients)) {
    std::vector<GradientSum> into;
    for (const FfnGradients& g : gradients) into.insert(into.end(), {g.gate, g.up});
    grouped_linear_backward_weights(
        queue, scratch, {.precision = args.options.precision, .dy_scales = Scales::any,
                         .x_scales = dispatched, .dy = side_by_side(deltas), .x = x,
                         .offsets = args.offsets, .into = std::move(into)});
    return;
  }
  add_units(deltas.dgate, Scales::any, x, dispatched, &FfnGradients::gate);
  add_units(deltas.dup, Scales::any, x, dispatched, &FfnGradients::up);
}

}  // namespace troupe::kernels
