#include "kernels/layers/moe/moe_gate.h"

#include <algorithm>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/routing.h"
#include "kernels/ops/sort_rows.h"

namespace troupe::kernels {

namespace {

/// unit = transpose(dlogits) times x. In the arithmetic sm_90a a chain over every 256 rows, the
/// chains' sums added ascending: one chain over all rows would leave most of the GPU idle.
void add_chunks(Queue& queue, const ConstTensor& dlogits, const ConstTensor& x,
                const Tensor& unit) {
  constexpr int64_t chunk_rows = 256;
  PassingScratch passing(queue);
  GroupedGemmWeightsArgs products{.a = dlogits, .b = x, .offsets = {0}, .c = {}};
  const int64_t T = x.rows(), E = dlogits.cols(), D = x.cols();
  const int64_t chunks = (T + chunk_rows - 1) / chunk_rows;
  const Tensor parts = passing->f32({chunks * E, D});
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    products.offsets.push_back(std::min(T, (chunk + 1) * chunk_rows));
    products.c.push_back(row_range(parts, chunk * E, E));
  }
  grouped_gemm_weights(queue, products);
  cuda::add_parts(queue, reshape(parts, {chunks, E * D}), unit);
}

}  // namespace

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
  if (queue.arithmetic() == Arithmetic::sm_90a) {
    add_chunks(queue, dlogits, args.x, unit);
    return add_unit(queue, gradient, unit);
  }
  gemm(queue, {.a = dlogits, .b = args.x, .transpose_a = true, .transpose_b = false, .c = unit,
               .add_to_c = false});
  add_unit(queue, gradient, unit);
}

Dispatch plan_dispatch(Queue& queue, Scratch& scratch, const ConstTensor& expert_ids,
                       const std::vector<int32_t>& owner, int64_t groups) {
  const int64_t T = expert_ids.rows(), K = expert_ids.cols();
  const auto table = [&](std::initializer_list<int64_t> shape) { return scratch.of(DType::i32, shape); };
  const Dispatch plan{.sources = {}, .source = table({T, K}), .row = table({T, K}), .group = table({T, K}),
                      .index = table({T * K}), .slot = table({T * K}),
                      .counts = scratch.i32({static_cast<int64_t>(owner.size())})};
  sort_rows(queue, {.expert_ids = expert_ids, .owner = owner, .groups = groups, .source = plan.source,
                    .row = plan.row, .group = plan.group, .index = plan.index, .slot = plan.slot,
                    .counts = plan.counts});
  return plan;
}

std::vector<Dispatch::Source> dispatch_sources(const Dispatch& plan, const std::vector<int32_t>& owner,
                                               int sources) {
  std::vector<Dispatch::Source> out(static_cast<size_t>(sources));
  for (auto& source : out) source.offsets.push_back(0);
  const int32_t* const counts = values<int32_t>(plan.counts);
  for (size_t e = 0; e < owner.size(); ++e) {
    auto& offsets = out[static_cast<size_t>(owner[e])].offsets;
    offsets.push_back(offsets.back() + counts[e]);
  }
  int64_t first = 0;
  for (auto& source : out) {
    source.index = reshape(columns(plan.index, first, source.rows()), {source.rows()});
    source.slot = reshape(columns(plan.slot, first, source.rows()), {source.rows()});
    first += source.rows();
  }
  return out;
}

}  // namespace troupe::kernels
