#include <algorithm>
#include <numeric>

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/head_sm90.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int row_threads = 512;

template <bool kVector>
__global__ void __launch_bounds__(row_threads)
    gradients_kernel(Rows<const float> logits, const int32_t* targets, const float* log_sums,
                     float factor, Rows<uint16_t> dlogits, int V, Fault* fault) {
  const int64_t t = blockIdx.x;
  const int target = targets[t];
  if (!is_within(fault, FaultName::cross_entropy_backward, t, target, -1, V - 1)) return;
  const F16 log_sum = set1(log_sums[t]), scale = set1(target < 0 ? 0.0f : factor);
  for (int first = static_cast<int>(threadIdx.x) * neighbours; first < V;
       first += row_threads * neighbours) {
    const int n = min(neighbours, V - first);
    float x[neighbours];
    load_row<kVector>(logits[t] + first, n, x);
#pragma unroll
    for (int i = 0; i < neighbours; ++i) {
      const F16 share = exp(set1(x[i]) - log_sum);
      const F16 away = first + i == target ? share - set1(1.0f) : share;
      x[i] = target < 0 ? 0.0f : (scale * away).v;
    }
    store_row<kVector>(dlogits[t] + first, n, x);
  }
}

/// Where the tokens of an id stand in the list of tokens.
struct IdTokens {
  int32_t id;
  int32_t first, end;
};

/// A block an id and 256 columns.
__global__ void add_ids_kernel(const IdTokens* ids, const int32_t* tokens, Rows<const float> dy,
                               int64_t D, unsigned long long* sums, FixedPointRule rule) {
  const IdTokens its = ids[blockIdx.x];
  const int64_t column = blockIdx.y * int64_t{256} + threadIdx.x;
  if (column >= D) return;
  float sum = 0.0f;
#pragma unroll 8
  for (int i = its.first; i < its.end; ++i) sum = __fadd_rn(sum, dy[tokens[i]][column]);
  atomicAdd(sums + its.id * D + column, fixed_point_of(sum, rule));
}

}  // namespace

void logit_gradients(Queue& queue, const LogitGradientsArgs& args) {
  const OperatorLabel label("cross_entropy_backward");
  const int64_t T = args.logits.rows();
  const int V = static_cast<int>(args.logits.cols());
  expect_shape("logit_gradients logits", args.logits, DType::f32, {T, V});
  expect_shape("logit_gradients targets", args.targets, DType::i32, {T});
  expect_shape("logit_gradients log_sums", args.log_sums, DType::f32, {T});
  expect_shape("logit_gradients dlogits", args.dlogits, DType::bf16, {T, V});
  const auto logits = rows_of<float>("logit_gradients logits", args.logits);
  rows_of<int32_t>("logit_gradients targets", args.targets);
  const float* const log_sums = rows_of<float>("logit_gradients log_sums", args.log_sums).data;
  const auto dlogits = rows_of<uint16_t>("logit_gradients dlogits", args.dlogits);
  if (T * V == 0) return;
  const bool in_eights = are_in_eights({args.logits, args.dlogits});
  enqueue(
      queue, "cross_entropy_backward",
      [=, table = NearTable(args.targets), factor = args.scale](CUstream_st* stream, Fault* fault) {
        const auto kernel = in_eights ? gradients_kernel<true> : gradients_kernel<false>;
        kernel<<<static_cast<unsigned>(T), row_threads, 0, stream>>>(
            logits, table.bring(stream), log_sums, factor, dlogits, V, fault);
      });
}

void add_embedding_unit(Queue& queue, const ConstTensor& ids, const ConstTensor& dy,
                        const GradientSum& into) {
  const OperatorLabel label("embed_backward_weights");
  const int64_t T = dy.rows(), D = dy.cols(), V = into.sum.rows();
  expect_shape("add_embedding_unit ids", ids, DType::i32, {T});
  expect_shape("add_embedding_unit dy", dy, DType::f32, {T, D});
  expect_shape("add_embedding_unit sum", into.sum, DType::i64, {V, D});
  add_empty_unit(queue, into);
  const int32_t* const at = values<int32_t>(ids);
  std::vector<int32_t> order(static_cast<size_t>(T));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return at[a] < at[b]; });
  std::vector<IdTokens> groups;
  for (int32_t i = 0; i < static_cast<int32_t>(T); ++i) {
    const int32_t id = at[order[static_cast<size_t>(i)]];
    if (id < 0 || id >= V) {
      throw KernelError("embed_backward_weights id " + std::to_string(id) + " at row " +
                        std::to_string(order[static_cast<size_t>(i)]) + ", wanted 0 to " +
                        std::to_string(V - 1));
    }
    if (groups.empty() || groups.back().id != id) groups.push_back({id, i, i});
    groups.back().end = i + 1;
  }
  if (groups.empty()) return;
  const auto [scale, bound] = fixed_point_range(into.scale_bits, into.units);
  const FixedPointRule rule{scale, bound, reinterpret_cast<unsigned*>(into.faults), true, false};
  const auto rows = rows_of<float>("add_embedding_unit dy", dy);
  auto* const sums = reinterpret_cast<unsigned long long*>(
      rows_of<int64_t>("add_embedding_unit sum", into.sum).data);
  const dim3 grid(static_cast<unsigned>(groups.size()), blocks_for(D, 256));
  enqueue(queue, "embed_backward_weights",
          [=, list = NearList<IdTokens>(groups), tokens = NearList<int32_t>(order)](
              CUstream_st* stream, Fault*) {
            add_ids_kernel<<<grid, 256, 0, stream>>>(list.bring(stream), tokens.bring(stream), rows,
                                                     D, sums, rule);
          });
}

}  // namespace troupe::kernels::cuda
