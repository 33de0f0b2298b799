#include "kernels/ops/routing.h"

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/route_by_groups.cuh"
#include "kernels/cuda/route_by_lanes.cuh"

namespace troupe::kernels::cuda {
namespace {

/// By a warp: the best of `count` keys that are not taken, a tie to the lower id; takes it.
__device__ int take_best(const int32_t* keys, uint8_t* taken, int count, int lane) {
  int64_t best = std::numeric_limits<int64_t>::min();  // key, then the id backwards
  for (int i = lane; i < count; i += 32) {
    if (taken[i]) continue;
    const int64_t rank = (static_cast<int64_t>(keys[i]) << 32) | static_cast<uint32_t>(count - i);
    best = rank > best ? rank : best;
  }
  for (int width = 16; width > 0; width /= 2) {
    const int64_t other = __shfl_xor_sync(whole_warp, best, width);
    best = other > best ? other : best;
  }
  const int id = count - static_cast<int>(static_cast<uint32_t>(best));
  if (lane == 0) taken[id] = 1;
  __syncwarp();
  return id;
}

/// By a warp: the ids that are marked in `chosen`, ascending.
__device__ void write_ascending(const uint8_t* chosen, int count, int lane, int32_t* out) {
  int before = 0;
  for (int first = 0; first < count; first += 32) {
    const int i = first + lane;
    const bool mine = i < count && chosen[i];
    const unsigned all = __ballot_sync(whole_warp, mine);
    if (mine) out[before + __popc(all & ((1u << lane) - 1u))] = i;
    before += __popc(all);
  }
  __syncwarp();
}

/// Of the sum of the two best biased scores of a group.
__device__ int32_t group_key(const int32_t* keys, int size) {
  int32_t best = keys[0], second = lowest_key;
  for (int i = 1; i < size; ++i) {
    second = max(second, min(best, keys[i]));
    best = max(best, keys[i]);
  }
  return size == 1 ? best : rank_key(__fadd_rn(value_of(best), value_of(second)));
}

/// A warp, which is a block, a token.
__global__ void route_kernel(RouteShape s) {
  extern __shared__ int32_t memory[];
  int32_t* const keys = memory;                                  // [E]
  int32_t* const group_keys = keys + s.E;                        // [n_groups]
  int32_t* const ids = group_keys + s.n_groups;                  // [K]
  uint8_t* const taken = reinterpret_cast<uint8_t*>(ids + s.K);  // [E]: not to be chosen
  uint8_t* const chosen = taken + s.E;                           // [E]
  uint8_t* const kept = chosen + s.E;                            // [n_groups]
  const int64_t t = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x), size = s.E / s.n_groups;
  float* const scores = s.scores[t];
  for (int e = lane; e < s.E; e += 32) {
    const float score = sigmoid(set1(s.logits[t][e])).v;
    scores[e] = score;
    keys[e] = rank_key(__fadd_rn(score, s.bias[e]));
    chosen[e] = 0;
  }
  __syncwarp();
  for (int g = lane; g < s.n_groups; g += 32) {
    group_keys[g] = group_key(keys + g * size, size);
    kept[g] = 0;
  }
  __syncwarp();
  for (int g = 0; g < s.top_groups; ++g) take_best(group_keys, kept, s.n_groups, lane);
  for (int e = lane; e < s.E; e += 32) taken[e] = !kept[e / size];
  __syncwarp();
  for (int k = 0; k < s.K; ++k) {
    const int id = take_best(keys, taken, s.E, lane);
    if (lane == 0) chosen[id] = 1;
  }
  __syncwarp();
  write_ascending(chosen, s.E, lane, ids);
  float sum = 0.0f;
  for (int k = 0; k < s.K; ++k) sum = __fadd_rn(sum, scores[ids[k]]);
  for (int k = lane; k < s.K; k += 32) {
    s.weights[t][k] = s.weight_of(scores[ids[k]], sum);
    s.ids[t][k] = ids[k];
  }
}

struct RouteBackwardShape {
  Rows<const float> dweights, scores, dscores_in;
  Rows<const int32_t> ids;
  Rows<float> dlogits;
  int E, K;
  bool normalize;
  float scale;
};

__global__ void route_backward_kernel(RouteBackwardShape s, Fault* fault) {
  extern __shared__ int32_t memory[];
  float* const dscores = reinterpret_cast<float*>(memory);  // [E]
  const int64_t t = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  const float* const scores = s.scores[t];
  for (int e = lane; e < s.E; e += 32) dscores[e] = s.dscores_in.data ? s.dscores_in[t][e] : 0.0f;
  __syncwarp();
  if (lane == 0) {
    float factor = s.scale, mean = 0.0f, sum = 0.0f, weighted = 0.0f;
    for (int k = 0; k < s.K; ++k) {
      const int32_t id = s.ids[t][k];
      if (!is_within(fault, FaultName::route_tokens_backward, t, id, 0, s.E - 1)) return;
      sum = __fadd_rn(sum, scores[id]);
      weighted = __fmaf_rn(s.dweights[t][k], scores[id], weighted);
    }
    if (s.normalize) {
      factor = __fdiv_rn(s.scale, __fadd_rn(sum, 1e-20f));
      mean = __fdiv_rn(weighted, __fadd_rn(sum, 1e-20f));
    }
    for (int k = 0; k < s.K; ++k) {
      const int32_t id = s.ids[t][k];
      dscores[id] = __fmaf_rn(factor, __fsub_rn(s.dweights[t][k], mean), dscores[id]);
    }
  }
  __syncwarp();
  for (int e = lane; e < s.E; e += 32) {
    const float score = scores[e];
    s.dlogits[t][e] = __fmul_rn(dscores[e], __fmul_rn(score, __fsub_rn(1.0f, score)));
  }
}

/// How often each expert is chosen in the row's sequence: integer atomics have no order.
__global__ void count_choices_kernel(Rows<const float> scores, Rows<const int32_t> ids, int E,
                                     int K, int64_t S, bool unbiased, int32_t* counts,
                                     Fault* fault) {
  extern __shared__ int32_t memory[];
  int32_t* const keys = memory;
  uint8_t* const taken = reinterpret_cast<uint8_t*>(keys + E);
  const int64_t t = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  for (int e = lane; unbiased && e < E; e += 32) {
    keys[e] = rank_key(scores[t][e]);
    taken[e] = 0;
  }
  __syncwarp();
  for (int k = 0; k < K; ++k) {
    const int32_t id = unbiased ? take_best(keys, taken, E, lane) : ids[t][k];
    if (lane != 0 || !is_within(fault, FaultName::balance_loss, t, id, 0, E - 1)) continue;
    atomicAdd(counts + t / S * E + id, 1);
  }
}

}  // namespace

void route_tokens(Queue& queue, const RouteTokensArgs& args) {
  const int64_t T = args.logits.rows();
  const int E = static_cast<int>(args.logits.cols()), K = static_cast<int>(args.expert_ids.cols());
  const RouteShape shape{rows_of<float>("route_tokens logits", args.logits),
                         rows_of<float>("route_tokens bias", args.bias).data,
                         rows_of<float>("route_tokens scores", args.scores),
                         rows_of<float>("route_tokens weights", args.weights),
                         rows_of<int32_t>("route_tokens expert_ids", args.expert_ids),
                         E,
                         K,
                         args.n_groups,
                         args.top_groups,
                         args.normalize,
                         args.scale};
  if (T == 0) return;
  const auto bytes = static_cast<size_t>(6 * E + 5 * args.n_groups + 4 * K);
  enqueue(queue, "route_tokens", [=](CUstream_st* stream, Fault*) {
    if (route_by_groups(shape, T, stream) || route_by_lanes(shape, T, stream)) return;
    route_kernel<<<static_cast<unsigned>(T), 32, bytes, stream>>>(shape);
  });
}

void route_tokens_backward(Queue& queue, const RouteTokensBackwardArgs& args) {
  const int64_t T = args.scores.rows();
  const int E = static_cast<int>(args.scores.cols()), K = static_cast<int>(args.expert_ids.cols());
  const RouteBackwardShape shape{
      rows_of<float>("route_tokens_backward dweights", args.dweights),
      rows_of<float>("route_tokens_backward scores", args.scores),
      rows_of<float>("route_tokens_backward dscores", args.dscores),
      rows_of<int32_t>("route_tokens_backward expert_ids", args.expert_ids),
      rows_of<float>("route_tokens_backward dlogits", args.dlogits),
      E,
      K,
      args.normalize,
      args.scale};
  if (T == 0) return;
  enqueue(queue, "route_tokens_backward", [=](CUstream_st* stream, Fault* fault) {
    route_backward_kernel<<<static_cast<unsigned>(T), 32, static_cast<size_t>(4 * E), stream>>>(
        shape, fault);
  });
}

void balance_loss(Queue& queue, const BalanceLossArgs& args) {
  const int64_t T = args.scores.rows(), S = args.sequence_rows, sequences = T / S;
  const int E = static_cast<int>(args.scores.cols()), K = static_cast<int>(args.expert_ids.cols());
  const auto all_scores = rows_of<float>("balance_loss scores", args.scores);
  const auto ids = rows_of<int32_t>("balance_loss expert_ids", args.expert_ids);
  const auto all_dscores = rows_of<float>("balance_loss dscores", args.dscores);
  float* const losses = rows_of<float>("balance_loss losses", args.losses).data;
  if (T == 0) return;
  const Buffer counted = allocate(Device::cuda, DType::i32, {sequences, E});
  const Buffer shares = allocate(Device::cuda, DType::f32, {sequences, E});
  const Buffer means = allocate(Device::cuda, DType::f32, {sequences, E});
  const Buffer inverses = allocate(Device::cuda, DType::f32, {T});
  int32_t* const counts = values<int32_t>(counted.view);
  float* const f = values<float>(shares.view);
  float* const p = values<float>(means.view);
  float* const inverse_of = values<float>(inverses.view);
  const bool unbiased = args.unbiased_choice;
  for_each(queue, "balance_loss", sequences * E, [=] __device__(int64_t i) { counts[i] = 0; });
  enqueue(queue, "balance_loss", [=](CUstream_st* stream, Fault* fault) {
    count_choices_kernel<<<static_cast<unsigned>(T), 32, static_cast<size_t>(5 * E), stream>>>(
        all_scores, ids, E, K, S, unbiased, counts, fault);
  });
  const float unit = static_cast<float>(E) / static_cast<float>(K * S);
  for_each(queue, "balance_loss", sequences * E,
           [=] __device__(int64_t i) { f[i] = __fmul_rn(unit, static_cast<float>(counts[i])); });
  const float per_row = args.scale / static_cast<float>(S);
  for_each_row(queue, "balance_loss", T, [=] __device__(int64_t t, int lane, bool mine, Fault*) {
    const float* const scores = all_scores[t];
    const float* const shares_of = f + t / S * E;
    float sum = 0.0f;
    for_lane(E, lane,
             [&](int64_t i, bool there) { sum = __fadd_rn(sum, there ? scores[i] : 0.0f); });
    const float inverse = __fdiv_rn(1.0f, __fadd_rn(sum_lanes(sum), 1e-20f));
    const float mean = __fmul_rn(dot(shares_of, scores, E, lane), inverse);
    const float factor = __fmul_rn(per_row, inverse);
    if (!mine) return;
    if (lane == 0) inverse_of[t] = inverse;
    for (int i = lane; i < E; i += 16) {
      all_dscores[t][i] = __fmul_rn(factor, __fsub_rn(shares_of[i], mean));
    }
  });
  for_each(queue, "balance_loss", sequences * E, [=] __device__(int64_t i) {
    const int64_t first = i / E * S, e = i % E;
    float sum = 0.0f;
    for (int64_t t = first; t < first + S; ++t) {
      sum = __fmaf_rn(all_scores[t][e], inverse_of[t], sum);
    }
    p[i] = sum;
  });
  for_each_row(queue, "balance_loss", sequences,
               [=] __device__(int64_t s, int lane, bool mine, Fault*) {
                 const float loss = __fmul_rn(per_row, dot(f + s * E, p + s * E, E, lane));
                 if (mine && lane == 0) losses[s] = loss;
               });
  // The memory stays until the stream has passed.
  queue.launch([counted, shares, means, inverses](const GpuLane&) {});
}

void count_experts(Queue& queue, const CountExpertsArgs& args) {
  const int64_t T = args.expert_ids.rows(), K = args.expert_ids.cols(), E = args.loads.cols();
  const auto ids = rows_of<int32_t>("count_experts expert_ids", args.expert_ids);
  auto* const loads = reinterpret_cast<unsigned long long*>(
      rows_of<int64_t>("count_experts loads", args.loads).data);
  for_each(queue, "count_experts", E, [=] __device__(int64_t e) { loads[e] = 0; });
  if (T * K == 0) return;
  enqueue(queue, "count_experts", [=](CUstream_st* stream, Fault* fault) {
    const auto count = [=] __device__(int64_t i) {
      const int32_t id = ids[i / K][i % K];
      if (is_within(fault, FaultName::count_experts, i / K, id, 0, E - 1))
        atomicAdd(loads + id, 1ull);
    };
    each_kernel<<<grid_for(T * K, 256), 256, 0, stream>>>(T * K, count);
  });
}

}  // namespace troupe::kernels::cuda
