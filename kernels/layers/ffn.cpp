#include "kernels/layers/ffn.h"

#include "kernels/gemm.h"
#include "kernels/permute.h"
#include "kernels/swiglu.h"

namespace troupe::kernels {
namespace {

template <class Member>
void through(Queue& queue, const FfnForwardArgs& args, const ConstTensor& x, Member member,
             const Tensor& y) {
  std::vector<ConstTensor> weights;
  for (const FfnWeights& w : args.weights) weights.push_back(w.*member);
  grouped_gemm(queue, {.a = x, .b = std::move(weights), .transpose_b = true,
                       .offsets = args.offsets, .c = y});
}

template <class Member>
void back_through(Queue& queue, const FfnBackwardArgs& args, const ConstTensor& dy, Member member,
                  const Tensor& dx) {
  std::vector<ConstTensor> weights;
  for (const FfnWeights& w : args.weights) weights.push_back(w.*member);
  grouped_gemm(queue, {.a = dy, .b = std::move(weights), .transpose_b = false,
                       .offsets = args.offsets, .c = dx});
}

}  // namespace

FfnSaved ffn_forward(Queue& queue, Scratch& scratch, const FfnForwardArgs& args) {
  if (args.weights.empty()) return {};
  const int64_t R = args.x.rows(), F = args.weights[0].gate.rows();
  const FfnSaved saved{scratch.f32({R, F}), scratch.f32({R, F}), scratch.f32({R, F})};
  through(queue, args, args.x, &FfnWeights::gate, saved.gate);
  through(queue, args, args.x, &FfnWeights::up, saved.up);
  swiglu(queue, {.gate = saved.gate, .up = saved.up, .y = saved.activated});
  through(queue, args, saved.activated, &FfnWeights::down, args.y);
  return saved;
}

FfnDeltas ffn_backward_inputs(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                              const FfnSaved& saved) {
  if (args.weights.empty()) return {};
  const int64_t R = args.x.rows(), D = args.x.cols(), F = saved.gate.cols();
  const FfnDeltas deltas{scratch.f32({R, F}), scratch.f32({R, F})};
  const Tensor dactivated = scratch.f32({R, F}), dx_up = scratch.f32({R, D});
  back_through(queue, args, args.dy, &FfnWeights::down, dactivated);
  swiglu_backward(queue, {.dy = dactivated, .gate = saved.gate, .up = saved.up,
                          .dgate = deltas.dgate, .dup = deltas.dup});
  back_through(queue, args, deltas.dgate, &FfnWeights::gate, args.dx);
  back_through(queue, args, deltas.dup, &FfnWeights::up, dx_up);
  add(queue, {.a = args.dx, .b = dx_up, .y = args.dx});
  return deltas;
}

void ffn_backward_weights(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                          const FfnSaved& saved, const FfnDeltas& deltas,
                          const std::vector<FfnGradients>& gradients) {
  const auto matrices = [&](const ConstTensor& dy, const ConstTensor& x, auto member) {
    if (gradients.empty() || !(gradients[0].*member).is_wanted()) return;
    std::vector<Tensor> units;
    for (size_t g = 0; g < gradients.size(); ++g) units.push_back(scratch.f32({dy.cols(), x.cols()}));
    grouped_gemm_weights(queue, {.a = dy, .b = x, .offsets = args.offsets, .c = units});
    for (size_t g = 0; g < gradients.size(); ++g) {
      if (args.offsets[g] == args.offsets[g + 1]) continue;
      add_unit(queue, gradients[g].*member, units[g]);
    }
  };
  matrices(args.dy, saved.activated, &FfnGradients::down);
  matrices(deltas.dgate, args.x, &FfnGradients::gate);
  matrices(deltas.dup, args.x, &FfnGradients::up);
}

}  // namespace troupe::kernels
