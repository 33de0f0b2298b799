#include "kernels/layers/ffn.h"

#include "kernels/permute.h"
#include "kernels/rounding.h"
#include "kernels/swiglu.h"

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
  return options.is_moe && options.precision == Precision::fp8;
}

}  // namespace

FfnSaved ffn_forward(Queue& queue, Scratch& scratch, const FfnForwardArgs& args) {
  if (args.weights.empty()) return {};
  const int64_t R = args.x.rows(), F = args.weights[0].gate.rows();
  const bool keeps_activated = !args.options.recompute && !keeps_e4m3(args.options);
  PassingScratch passing(queue);
  FfnSaved saved{scratch.f32({R, F}), scratch.f32({R, F}), {}};
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
  const int64_t R = args.x.rows(), D = args.x.cols(), F = saved.gate.cols();
  const FfnDeltas deltas{scratch.f32({R, F}), scratch.f32({R, F})};
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
  const auto add_units = [&](const ConstTensor& dy, Scales dy_scales, const ConstTensor& x,
                             Scales x_scales, auto member) {
    std::vector<GradientSum> into;
    for (const FfnGradients& g : gradients) into.push_back(g.*member);
    grouped_linear_backward_weights(
        queue, scratch, {.precision = args.options.precision, .dy_scales = dy_scales,
                         .x_scales = x_scales, .dy = dy, .x = x, .offsets = args.offsets,
                         .into = std::move(into)});
  };
  Tensor activated = saved.activated;
  if (activated.data == nullptr) {
    activated = scratch.f32({saved.gate.rows(), saved.gate.cols()});
    swiglu(queue, {.gate = saved.gate, .up = saved.up, .y = activated});
  }
  const Scales dispatched = dispatch_scales(args.options);
  add_units(args.dy, dispatched, activated, Scales::any, &FfnGradients::down);
  add_units(deltas.dgate, Scales::any, args.x, dispatched, &FfnGradients::gate);
  add_units(deltas.dup, Scales::any, args.x, dispatched, &FfnGradients::up);
}

}  // namespace troupe::kernels
