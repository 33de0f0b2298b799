#include "kernels/layers/moe/expert.h"

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/cuda/sm90/weigh_rows.h"
#include "kernels/layers/ffn_codes.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels {

struct ExpertCodes {
  Scratch scratch;
  FfnCodesWeights weights;
};

namespace {

FfnBackwardArgs ffn_args(const ExpertsArgs& args, const ExpertsSaved& saved, const Tensor& dx) {
  return {.options = args.options, .weights = args.weights, .offsets = args.offsets, .x = saved.x, .dy = saved.dy, .dx = dx};
}

/// The experts' rows of x, or of dy.
ConstTensor rows_of(Queue& queue, Scratch& scratch, const ExpertsArgs& args, const ConstTensor& x) {
  if (args.index.data == nullptr) return x;
  const Tensor rows = scratch.of(x.dtype, {args.offsets.back(), x.cols()});
  gather_rows(queue, {.x = x, .index = args.index, .y = rows});
  return rows;
}

/// Rows from a table are quantized as they are gathered.
bool gathers_codes(const Queue& queue, const ExpertsArgs& args) {
  return args.index.data != nullptr && !args.weights.empty() &&
         goes_in_codes(queue, args.options, args.weights[0]);
}

FfnCodesArgs codes_args(const ExpertsArgs& args, const ExpertsSaved& saved) {
  return {.precision = args.options.precision, .weights = args.weights, .groups = saved.ffn.groups,
          .codes = args.codes ? &args.codes->weights : nullptr};
}

ExpertsSaved forward_in_codes(Queue& queue, Scratch& scratch, const ExpertsArgs& args) {
  ExpertsSaved saved;
  saved.y = scratch.of(DType::bf16, {args.offsets.back(), args.x.cols()});
  saved.ffn.groups = cuda::fp8_groups(queue, scratch, args.offsets);
  PassingScratch passing(queue);
  const cuda::Fp8Rows table = cuda::quantize_rows(queue, *passing, args.x, dispatched_activations);
  const cuda::Fp8Rows rows = cuda::gather_codes(queue, *passing, table, args.index);
  saved.ffn.codes = ffn_codes_forward(queue, scratch, codes_args(args, saved), rows, saved.y);
  return saved;
}

void backward_inputs_in_codes(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                              ExpertsSaved& saved, const ExpertsBackwardArgs& backward) {
  cuda::weigh_rows(queue, {.dy = backward.dy, .index = args.index, .y = saved.y,
                           .weights = backward.weights, .dy_weighted = {},
                           .dweights = backward.dweights});
  PassingScratch passing(queue);
  const auto [rows, columns] = cuda::quantize_weighed(
      queue, scratch, *passing, {backward.dy, args.index, backward.weights}, dispatched_gradients,
      saved.ffn.groups);
  saved.deltas = ffn_codes_backward_inputs(queue, scratch, codes_args(args, saved), saved.ffn.codes,
                                           rows, backward.dx);
  saved.deltas.dy_codes = columns;
}

}  // namespace

std::shared_ptr<const ExpertCodes> expert_codes(Queue& queue, const FfnOptions& options,
                                                const std::vector<FfnWeights>& weights) {
  if (weights.empty() || !goes_in_codes(queue, options, weights[0])) return nullptr;
  auto codes = std::make_shared<ExpertCodes>(Scratch(queue.device()), FfnCodesWeights());
  codes->weights = quantize_weights(queue, codes->scratch, weights);
  return codes;
}

ExpertsSaved experts_forward(Queue& queue, Scratch& scratch, const ExpertsArgs& args) {
  if (gathers_codes(queue, args)) return forward_in_codes(queue, scratch, args);
  ExpertsSaved saved;
  const bool is_narrow = is_of_tensor_cores(queue, args.options.precision);
  const ConstTensor x = rows_of(queue, scratch, args, args.x);
  saved.x = is_narrow ? cuda::bf16_operand(queue, scratch, x) : x;
  saved.y = scratch.of(is_narrow ? DType::bf16 : DType::f32, {x.rows(), x.cols()});
  saved.ffn = ffn_forward(queue, scratch, {.options = args.options, .weights = args.weights,
                                           .offsets = args.offsets, .x = saved.x, .y = saved.y});
  return saved;
}

void experts_backward_inputs(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                             ExpertsSaved& saved, const ExpertsBackwardArgs& backward) {
  if (gathers_codes(queue, args)) {
    return backward_inputs_in_codes(queue, scratch, args, saved, backward);
  }
  const int64_t R = saved.y.rows(), D = saved.y.cols();
  PassingScratch passing(queue);
  if (is_of_tensor_cores(queue, args.options.precision)) {
    saved.dy = cuda::bf16_place(scratch, R, D);
    cuda::weigh_rows(queue, {.dy = cuda::bf16_operand(queue, *passing, backward.dy),
                             .index = args.index, .y = saved.y, .weights = backward.weights,
                             .dy_weighted = saved.dy, .dweights = backward.dweights});
  } else {
    saved.dy = scratch.f32({R, D});
    const ConstTensor dy = rows_of(queue, *passing, args, backward.dy);
    dot_rows(queue, {.a = dy, .b = saved.y, .y = backward.dweights});
    scale_rows(queue, {.x = dy, .scale = backward.weights, .y = saved.dy});
  }
  saved.deltas = ffn_backward_inputs(queue, scratch, ffn_args(args, saved, backward.dx), saved.ffn);
}

void experts_backward_weights(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                              const ExpertsSaved& saved,
                              const std::vector<FfnGradients>& gradients) {
  if (!gathers_codes(queue, args)) {
    return ffn_backward_weights(queue, scratch, ffn_args(args, saved, {}), saved.ffn, saved.deltas,
                                gradients);
  }
  const cuda::Fp8Columns x = cuda::quantize_columns(queue, scratch, {args.x, args.index, {}},
                                                    dispatched_activations, saved.ffn.groups);
  ffn_codes_backward_weights(queue, codes_args(args, saved), x, saved.deltas, gradients);
}

}  // namespace troupe::kernels
