// Routing where a lane of a warp has some neighbouring experts in its registers and whole lanes have a
// group: what route_kernel (routing.cu) computes, in a fraction of the time.
#pragma once

#include <bit>
#include <type_traits>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/sigmoid.cuh"
#include "kernels/cuda/route_shape.cuh"

namespace troupe::kernels::cuda {

constexpr int tokens_of_block = 4;  ///< a warp each

/// Whether kExperts a lane are all experts, and a group has a power of two of lanes.
template <int kExperts>
bool goes_by_lanes(const RouteShape& s) {
  const int size = s.E / s.n_groups, lanes = size / kExperts;
  return s.E == 32 * kExperts && size % kExperts == 0 && (lanes & (lanes - 1)) == 0 && s.K <= 32;
}

/// A lane's neighbouring numbers of a row.
template <bool kVector, int n>
__device__ inline void load_lane(const float* from, float (&v)[n]) {
  if constexpr (kVector && n >= 4) {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(from + i));
      v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = __ldg(from + i);
  }
}
template <bool kVector, int n>
__device__ inline void store_lane(float* to, const float (&v)[n]) {
  if constexpr (kVector && n >= 4) {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      *reinterpret_cast<float4*>(to + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) to[i] = v[i];
  }
}

/// The first of the lanes that have the greatest key.
__device__ inline int best_lane(int32_t key) {
  const int32_t most = __reduce_max_sync(whole_warp, key);
  return __ffs(static_cast<int>(__ballot_sync(whole_warp, key == most))) - 1;
}

/// Of the sum of the two best keys of this lane's group.
template <int kExperts>
__device__ inline int32_t key_of_group(const int32_t (&keys)[kExperts], int lane_bits) {
  int32_t best = keys[0], second = lowest_key;
#pragma unroll
  for (int j = 1; j < kExperts; ++j) {
    second = max(second, min(best, keys[j]));
    best = max(best, keys[j]);
  }
  for (int width = 1; width < 1 << lane_bits; width *= 2) {
    const int32_t its_best = __shfl_xor_sync(whole_warp, best, width);
    const int32_t its_second = __shfl_xor_sync(whole_warp, second, width);
    second = max(min(best, its_best), max(second, its_second));
    best = max(best, its_best);
  }
  return kExperts == 1 && lane_bits == 0 ? best : rank_key(__fadd_rn(value_of(best), value_of(second)));
}

/// Experts that may be chosen, the best first, a tie to the lower id.
template <int n>
struct Candidates {
  int32_t keys[n];
  int ids[n];

  __device__ void order(int a, int b) {
    const bool is_less = keys[b] > keys[a] || (keys[b] == keys[a] && ids[b] < ids[a]);
    const int32_t key = is_less ? keys[b] : keys[a];
    const int id = is_less ? ids[b] : ids[a];
    keys[b] = is_less ? keys[a] : keys[b];
    ids[b] = is_less ? ids[a] : ids[b];
    keys[a] = key;
    ids[a] = id;
  }
  __device__ void sort() {
    sorting_network<n>([&](int a, int b) { order(a, b); });
  }
  __device__ void drop_first() {
#pragma unroll
    for (int i = 1; i < n; ++i) {
      keys[i - 1] = keys[i];
      ids[i - 1] = ids[i];
    }
    keys[n - 1] = lowest_key;
  }
};

/// What the lanes of a warp give each other.
template <int kExperts>
struct RouteShared {
  float scores[32 * kExperts];
  int32_t keys[32 * kExperts];  ///< of the groups that are kept, in order
  int firsts[32];               ///< experts of the lanes that keys came from
  float chosen[32];             ///< scores
};

/// kLeft: experts of the groups that are kept, a lane. A group has 2^lane_bits lanes.
template <int kExperts, int kLeft, bool kVector>
__global__ void __launch_bounds__(32 * tokens_of_block) route_lanes_kernel(const RouteShape s, int64_t T, int lane_bits) {
  __shared__ __align__(16) RouteShared<kExperts> of_warps[tokens_of_block];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t t = blockIdx.x * int64_t{tokens_of_block} + warp;
  if (t >= T) return;
  RouteShared<kExperts>& shared = of_warps[warp];
  const int first = lane * kExperts;
  float logits[kExperts], bias[kExperts], scores[kExperts];
  int32_t keys[kExperts];
  load_lane<kVector>(s.logits[t] + first, logits);
  load_lane<kVector>(s.bias + first, bias);
  sigmoids(logits, scores);
  store_lane<kVector>(s.scores[t] + first, scores);
  store_lane<true>(shared.scores + first, scores);
#pragma unroll
  for (int j = 0; j < kExperts; ++j) keys[j] = rank_key(__fadd_rn(scores[j], bias[j]));

  int32_t group_key = key_of_group(keys, lane_bits);
  bool is_kept = false;
  for (int g = 0; g < s.top_groups; ++g) {
    const int best = best_lane(group_key);
    if (best >> lane_bits == lane >> lane_bits) {
      is_kept = true;
      group_key = lowest_key;
    }
  }
  const unsigned kept = __ballot_sync(whole_warp, is_kept);
  if (is_kept) {
    const int place = __popc(kept & ((1u << lane) - 1u));
    shared.firsts[place] = first;
#pragma unroll
    for (int j = 0; j < kExperts; ++j) shared.keys[place * kExperts + j] = keys[j];
  }
  __syncwarp();
  Candidates<kLeft> left;
  const int from = lane * kLeft / kExperts;
  const bool are_there = from < __popc(kept);
#pragma unroll
  for (int i = 0; i < kLeft; ++i) {
    left.keys[i] = are_there ? shared.keys[lane * kLeft + i] : lowest_key;
    left.ids[i] = shared.firsts[are_there ? from : 0] + lane * kLeft % kExperts + i;
  }
  left.sort();
  int mine = s.E;  // lane k's: the k-th best
  for (int k = 0; k < s.K; ++k) {
    const int best = best_lane(left.keys[0]);
    const int id = __shfl_sync(whole_warp, left.ids[0], best);
    mine = lane == k ? id : mine;
    if (lane == best) left.drop_first();
  }
  int place = 0;  // ids ascending
  for (int k = 0; k < s.K; ++k) place += __shfl_sync(whole_warp, mine, k) < mine;
  const bool is_chosen = lane < s.K;
  const float weight = is_chosen ? shared.scores[mine] : 0.0f;
  if (is_chosen) shared.chosen[place] = weight;
  __syncwarp();
  float sum = 0.0f;
  for (int k = 0; k < s.K; ++k) sum = __fadd_rn(sum, shared.chosen[k]);
  if (!is_chosen) return;
  s.weights[t][place] = s.weight_of(weight, sum);
  s.ids[t][place] = mine;
}

template <int n>
using Count = std::integral_constant<int, n>;

/// Calls f(Count): the power of two that `n` candidates a lane need.
template <int kExperts, class F>
void with_left(int n, const F& f) {
  if constexpr (kExperts > 1) {
    if (2 * n <= kExperts) return with_left<kExperts / 2>(n, f);
  }
  f(Count<kExperts>());
}

/// Launches it where a kernel is made for the shape; else false.
inline bool route_by_lanes(const RouteShape& s, int64_t T, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((T + tokens_of_block - 1) / tokens_of_block);
  const bool in_fours = s.is_in_fours();
  const auto launches = [&]<int kExperts>(Count<kExperts>) {
    if (!goes_by_lanes<kExperts>(s)) return false;
    const int size = s.E / s.n_groups, candidates = size * s.top_groups;
    const int lane_bits = std::countr_zero(static_cast<unsigned>(size / kExperts));
    with_left<kExperts>((candidates + 31) / 32, [&]<int kLeft>(Count<kLeft>) {
      const auto kernel =
          in_fours ? route_lanes_kernel<kExperts, kLeft, true> : route_lanes_kernel<kExperts, kLeft, false>;
      kernel<<<blocks, 32 * tokens_of_block, 0, stream>>>(s, T, lane_bits);
    });
    return true;
  };
  return launches(Count<1>()) || launches(Count<2>()) || launches(Count<4>()) || launches(Count<8>());
}

}  // namespace troupe::kernels::cuda
