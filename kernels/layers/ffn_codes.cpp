#include "kernels/layers/ffn_codes.h"

#include <algorithm>
#include <numeric>

#include "kernels/cuda/gemm/products_bf16.h"

namespace troupe::kernels {
namespace {

constexpr cuda::Fp8Scaling of_activations{.power_of_two = false, .least_amax = least_activation};
constexpr cuda::Fp8Scaling of_gradients{.power_of_two = false, .least_amax = least_gradient};
constexpr cuda::Fp8Scaling of_weights = of_activations;

bool promotes(const FfnCodesArgs& args) { return args.precision == Precision::fp8; }

/// A group's rows, were there one in each: none of them is without.
std::vector<int64_t> all_of(const std::vector<FfnWeights>& weights) {
  std::vector<int64_t> offsets(weights.size() + 1);
  std::iota(offsets.begin(), offsets.end(), int64_t{0});
  return offsets;
}

cuda::Fp8Blocks both_blocks(Queue& queue, Scratch& scratch, const FfnCodesArgs& args, bool forward) {
  if (args.codes) return forward ? args.codes->both.forward : args.codes->both.backward;
  const auto& offsets = args.groups.offsets;
  return cuda::quantize_matrices(
      queue, scratch, {gates_and_ups(queue, scratch, args.weights, offsets), of_weights, forward}, offsets);
}

cuda::Fp8Blocks down_blocks(Queue& queue, Scratch& scratch, const FfnCodesArgs& args, bool forward) {
  if (args.codes) return forward ? args.codes->down.forward : args.codes->down.backward;
  const auto& offsets = args.groups.offsets;
  return cuda::quantize_matrices(
      queue, scratch, {downs(queue, scratch, args.weights, offsets), of_weights, forward}, offsets);
}

cuda::Fp8Columns half_of(const cuda::Fp8Columns& both, int64_t first, int64_t F) {
  return {row_range(both.codes, first, F), columns(both.scales, first, F)};
}

}  // namespace

bool goes_in_codes(const Queue& queue, const FfnOptions& options, const FfnWeights& weights) {
  return options.is_moe && is_fp8(options.precision) &&
         is_of_tensor_cores(queue, options.precision) && weights.gate.cols() % 16 == 0 &&
         cuda::has_swiglu_codes(weights.gate.rows());
}

FfnCodesWeights quantize_weights(Queue& queue, Scratch& scratch, const std::vector<FfnWeights>& weights) {
  PassingScratch passing(queue);
  const std::vector<int64_t> all = all_of(weights);
  const auto both_ways = [&](std::vector<ConstTensor> matrices) {
    return cuda::quantize_both_ways(queue, scratch, {std::move(matrices), of_weights, true});
  };
  return {both_ways(gates_and_ups(queue, *passing, weights, all)),
          both_ways(downs(queue, *passing, weights, all))};
}

cuda::Fp8Rows ffn_codes_forward(Queue& queue, Scratch& scratch, const FfnCodesArgs& args,
                                const cuda::Fp8Rows& x, const Tensor& y) {
  const int64_t F = args.weights[0].gate.rows();
  PassingScratch passing(queue);
  const Tensor both = passing->of(DType::bf16, {args.groups.offsets.back(), 2 * F});
  cuda::multiply_fp8(queue, *passing,
                     {.a = x,
                      .b = both_blocks(queue, *passing, args, true),
                      .groups = args.groups,
                      .c = both,
                      .promotes = promotes(args)});
  const cuda::SwigluCodes codes = cuda::swiglu_codes(queue, scratch, *passing, both, of_activations);
  cuda::multiply_fp8(queue, *passing,
                     {.a = codes.activated,
                      .b = down_blocks(queue, *passing, args, true),
                      .groups = args.groups,
                      .c = y,
                      .promotes = promotes(args)});
  return codes.kept;
}

FfnDeltas ffn_codes_backward_inputs(Queue& queue, Scratch& scratch, const FfnCodesArgs& args,
                                    const cuda::Fp8Rows& kept, const cuda::Fp8Rows& dy,
                                    const Tensor& dx) {
  const int64_t F = args.weights[0].gate.rows();
  PassingScratch passing(queue);
  const Tensor dactivated = passing->of(DType::bf16, {args.groups.offsets.back(), F});
  cuda::multiply_fp8(queue, *passing,
                     {.a = dy,
                      .b = down_blocks(queue, *passing, args, false),
                      .groups = args.groups,
                      .c = dactivated,
                      .promotes = promotes(args)});
  const cuda::SwigluBackwardCodes codes =
      cuda::swiglu_backward_codes(queue, scratch, *passing, kept, dactivated, of_activations,
                                  of_gradients, args.groups);
  cuda::multiply_fp8(queue, *passing,
                     {.a = codes.rows,
                      .b = both_blocks(queue, *passing, args, false),
                      .groups = args.groups,
                      .c = dx,
                      .promotes = promotes(args)});
  FfnDeltas deltas;
  deltas.both_codes = codes.columns;
  deltas.activated_codes = codes.activated;
  return deltas;
}

void ffn_codes_backward_weights(Queue& queue, const FfnCodesArgs& args, const cuda::Fp8Columns& x,
                                const FfnDeltas& deltas,
                                const std::vector<FfnGradients>& gradients) {
  const auto add = [&](const cuda::Fp8Columns& dy, const cuda::Fp8Columns& columns,
                       std::vector<GradientSum> into) {
    if (into.empty() || !into[0].is_wanted()) return;
    PassingScratch passing(queue);
    cuda::add_weights_fp8(queue, *passing,
                          {.a = dy, .b = columns, .groups = args.groups, .into = std::move(into),
                           .promotes = promotes(args)});
  };
  const auto all = [&](auto member) {
    std::vector<GradientSum> into;
    for (const FfnGradients& g : gradients) into.push_back(g.*member);
    return into;
  };
  add(deltas.dy_codes, deltas.activated_codes, all(&FfnGradients::down));
  const bool are_alike = std::all_of(gradients.begin(), gradients.end(), [](const FfnGradients& g) {
    return g.gate.is_wanted() == g.up.is_wanted() && !g.gate.watch == !g.up.watch;
  });
  if (!are_alike) {
    const int64_t F = deltas.activated_codes.codes.rows();
    add(half_of(deltas.both_codes, 0, F), x, all(&FfnGradients::gate));
    return add(half_of(deltas.both_codes, F, F), x, all(&FfnGradients::up));
  }
  std::vector<GradientSum> of_both;
  for (const FfnGradients& g : gradients) of_both.insert(of_both.end(), {g.gate, g.up});
  add(deltas.both_codes, x, std::move(of_both));
}

std::vector<ConstTensor> gates_and_ups(Queue& queue, Scratch& scratch,
                                       const std::vector<FfnWeights>& weights,
                                       const std::vector<int64_t>& offsets) {
  std::vector<ConstTensor> single;
  std::vector<int64_t> doubled{0};
  for (size_t g = 0; g < weights.size(); ++g) {
    single.push_back(weights[g].gate);
    single.push_back(weights[g].up);
    const int64_t rows = offsets[g + 1] - offsets[g];
    doubled.push_back(doubled.back() + rows);  // either is read if the group has rows
    doubled.push_back(doubled.back() + rows);
  }
  std::vector<ConstTensor> stacked = cuda::bf16_operands(queue, scratch, single, doubled);
  for (size_t i = 0; i < stacked.size(); i += 2) {
    const ConstTensor &gate = stacked[i], &up = stacked[i + 1];
    const auto* const behind = values<uint16_t>(gate) + gate.rows() * gate.row_stride;
    if (values<uint16_t>(up) == behind && up.row_stride == gate.row_stride) continue;
    throw KernelError("ffn gate and up in bf16 lie apart, wanted up behind gate");
  }
  std::vector<ConstTensor> both;
  for (size_t i = 0; i < stacked.size(); i += 2) {
    both.push_back(stacked[i]);
    both.back().shape[0] *= 2;
  }
  return both;
}

std::vector<ConstTensor> downs(Queue& queue, Scratch& scratch,
                               const std::vector<FfnWeights>& weights,
                               const std::vector<int64_t>& offsets) {
  std::vector<ConstTensor> all;
  for (const FfnWeights& w : weights) all.push_back(w.down);
  return cuda::bf16_operands(queue, scratch, all, offsets);
}

}  // namespace troupe::kernels
