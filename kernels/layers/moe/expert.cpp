#include "kernels/layers/moe/expert.h"

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/cuda/sm90/weigh_rows.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels {
namespace {

FfnBackwardArgs ffn_args(const ExpertsArgs& args, const ExpertsSaved& saved, const Tensor& dx) {
  return {.options = args.options, .weights = args.weights, .offsets = args.offsets, .x = saved.x, .dy = saved.dy, .dx = dx};
}

}  // namespace

ExpertsSaved experts_forward(Queue& queue, Scratch& scratch, const ExpertsArgs& args) {
  ExpertsSaved saved;
  if (is_of_tensor_cores(queue, args.options.precision)) {
    saved.x = cuda::bf16_operand(queue, scratch, args.x);
    saved.y = scratch.of(DType::bf16, {args.x.rows(), args.x.cols()});
    saved.ffn = ffn_forward(queue, scratch, {.options = args.options, .weights = args.weights,
                                             .offsets = args.offsets, .x = saved.x, .y = saved.y});
    return saved;
  }
  saved.x = args.x;
  saved.y = scratch.f32({args.x.rows(), args.x.cols()});
  saved.ffn = ffn_forward(queue, scratch, {.options = args.options, .weights = args.weights,
                                           .offsets = args.offsets, .x = saved.x, .y = saved.y});
  return saved;
}

void experts_backward_inputs(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                             ExpertsSaved& saved, const ExpertsBackwardArgs& backward) {
  if (is_of_tensor_cores(queue, args.options.precision)) {
    saved.dy = cuda::bf16_place(scratch, args.x.rows(), args.x.cols());
    PassingScratch passing(queue);
    cuda::weigh_rows(queue, {.dy = cuda::bf16_operand(queue, *passing, backward.dy), .y = saved.y,
                             .weights = backward.weights, .dy_weighted = saved.dy,
                             .dweights = backward.dweights});
    saved.deltas =
        ffn_backward_inputs(queue, scratch, ffn_args(args, saved, backward.dx), saved.ffn);
    return;
  }
  saved.dy = scratch.f32({args.x.rows(), args.x.cols()});
  dot_rows(queue, {.a = backward.dy, .b = saved.y, .y = backward.dweights});
  scale_rows(queue, {.x = backward.dy, .scale = backward.weights, .y = saved.dy});
  saved.deltas =
      ffn_backward_inputs(queue, scratch, ffn_args(args, saved, backward.dx), saved.ffn);
}

void experts_backward_weights(Queue& queue, Scratch& scratch, const ExpertsArgs& args,
                              const ExpertsSaved& saved,
                              const std::vector<FfnGradients>& gradients) {
  ffn_backward_weights(queue, scratch, ffn_args(args, saved, {}), saved.ffn, saved.deltas,
                       gradients);
}

}  // namespace troupe::kernels
