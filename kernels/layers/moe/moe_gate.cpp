#include "kernels/layers/moe/moe_gate.h"

#include <algorithm>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/routing.h"

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
  struct Expert {  // what its rows need
    int32_t *index, *slot;
    int32_t next, owner, group;
  };
  std::vector<Expert> experts;
  for (int64_t e = 0; e < E; ++e) {
    const auto at = static_cast<size_t>(e);
    const auto& source = plan.sources[static_cast<size_t>(owner[at])];
    experts.push_back({values<int32_t>(source.index.view), values<int32_t>(source.slot.view),
                       static_cast<int32_t>(next[at]), owner[at],
                       static_cast<int32_t>(e / (E / groups))});
  }
  int32_t* const source = values<int32_t>(plan.source.view);
  int32_t* const rows = values<int32_t>(plan.row.view);
  int32_t* const group = values<int32_t>(plan.group.view);
  int32_t slot = 0;
  for (int32_t t = 0; t < static_cast<int32_t>(T); ++t) {
    for (int64_t k = 0; k < K; ++k, ++slot) {
      Expert& expert = experts[static_cast<size_t>(ids[slot])];
      const int32_t row = expert.next++;
      expert.index[row] = t;
      expert.slot[row] = slot;
      source[slot] = expert.owner;
      rows[slot] = row;
      group[slot] = expert.group;
    }
  }
  return plan;
}

}  // namespace troupe::kernels
