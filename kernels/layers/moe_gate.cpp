#include "kernels/layers/moe_gate.h"

#include "kernels/gemm.h"
#include "kernels/routing.h"

namespace troupe::kernels {

GateSaved moe_gate_forward(Queue& queue, Scratch& scratch, const GateForwardArgs& args) {
  const ModelShape& s = *args.shape;
  const int64_t T = args.x.rows();
  PassingScratch passing(queue);
  const Tensor logits = passing->f32({T, s.experts});
  const GateSaved saved{scratch.f32({T, s.experts}), scratch.i32({T, s.top_k}),
                        scratch.f32({T, s.top_k})};
  gemm(queue, {.a = args.x, .b = args.weight, .transpose_a = false, .transpose_b = true,
               .c = logits, .add_to_c = false});
  route_tokens(queue, {.logits = logits, .bias = args.bias, .n_groups = static_cast<int>(s.groups),
                       .top_groups = static_cast<int>(s.top_groups),
                       .normalize = s.normalize_top_k, .scale = s.routed_scale,
                       .scores = saved.scores, .expert_ids = saved.expert_ids,
                       .weights = saved.weights});
  return saved;
}

Tensor moe_gate_backward_inputs(Queue& queue, Scratch& scratch, const GateBackwardArgs& args,
                                const GateSaved& saved) {
  const Tensor dlogits = scratch.f32({args.x.rows(), args.shape->experts});
  route_tokens_backward(queue, {.dweights = args.dweights, .scores = saved.scores,
                                .expert_ids = saved.expert_ids,
                                .normalize = args.shape->normalize_top_k,
                                .scale = args.shape->routed_scale, .dscores = args.dscores,
                                .dlogits = dlogits});
  gemm(queue, {.a = dlogits, .b = args.weight, .transpose_a = false, .transpose_b = false,
               .c = args.dx, .add_to_c = false});
  return dlogits;
}

void moe_gate_backward_weights(Queue& queue, Scratch& scratch, const GateBackwardArgs& args,
                               const Tensor& dlogits, const GradientSum& gradient) {
  if (!gradient.is_wanted()) return;
  const Tensor unit = scratch.f32({dlogits.cols(), args.x.cols()});
  gemm(queue, {.a = dlogits, .b = args.x, .transpose_a = true, .transpose_b = false, .c = unit,
               .add_to_c = false});
  add_unit(queue, gradient, unit);
}

Dispatch plan_dispatch(const ConstTensor& expert_ids, const std::vector<int>& owner, int sources,
                       int64_t groups) {
  const int64_t T = expert_ids.rows(), K = expert_ids.cols();
  const int64_t E = static_cast<int64_t>(owner.size());
  const int32_t* ids = values<int32_t>(expert_ids);
  std::vector<int64_t> next(static_cast<size_t>(E), 0);  // rows of each expert, then its next row
  for (int64_t i = 0; i < T * K; ++i) ++next[static_cast<size_t>(ids[i])];

  Dispatch plan;
  plan.sources.resize(static_cast<size_t>(sources));
  for (auto& source : plan.sources) source.offsets.push_back(0);
  for (int64_t e = 0; e < E; ++e) {
    auto& offsets = plan.sources[static_cast<size_t>(owner[static_cast<size_t>(e)])].offsets;
    const int64_t first = offsets.back();
    offsets.push_back(first + next[static_cast<size_t>(e)]);
    next[static_cast<size_t>(e)] = first;
  }
  for (auto& source : plan.sources) {
    source.index = allocate_shared(DType::i32, {source.rows()});
    source.slot = allocate_shared(DType::i32, {source.rows()});
  }
  plan.source = allocate_shared(DType::i32, {T, K});
  plan.row = allocate_shared(DType::i32, {T, K});
  plan.group = allocate_shared(DType::i32, {T, K});
  for (int64_t i = 0; i < T * K; ++i) {
    const size_t e = static_cast<size_t>(ids[i]);
    auto& source = plan.sources[static_cast<size_t>(owner[e])];
    const int64_t row = next[e]++;
    values<int32_t>(source.index.view)[row] = static_cast<int32_t>(i / K);
    values<int32_t>(source.slot.view)[row] = static_cast<int32_t>(i);
    values<int32_t>(plan.source.view)[i] = owner[e];
    values<int32_t>(plan.row.view)[i] = static_cast<int32_t>(row);
    values<int32_t>(plan.group.view)[i] = static_cast<int32_t>(ids[i] / (E / groups));
  }
  return plan;
}

}  // namespace troupe::kernels
