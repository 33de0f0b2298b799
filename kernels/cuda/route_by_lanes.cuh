// Routing where a lane of a warp has some neighbouring experts in its registers and whole lanes have a
// group: what route_kernel (routing.cu) computes, in a fraction of the time.
#pragma once

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

/// The greatest key of the lanes that are in the running, and the first of those that have it.
__device__ inline int best_lane(bool runs, int32_t key) {
  const int32_t most = __reduce_max_sync(whole_warp, runs ? key : lowest_key);
  return __ffs(static_cast<int>(__ballot_sync(whole_warp, runs && key == most))) - 1;
}

/// A lane's experts that may still be chosen: the best of them.
template <int kExperts>
struct LaneChoice {
  int32_t key = lowest_key;
  int at = -1;  ///< none

  __device__ void look(const int32_t (&keys)[kExperts], uint32_t taken) {
    at = -1;
#pragma unroll
    for (int j = 0; j < kExperts; ++j) {
      if ((taken >> j & 1) != 0 || (at >= 0 && keys[j] <= key)) continue;
      key = keys[j];
      at = j;
    }
  }
};

/// Of the sum of the two best keys of this lane's group.
template <int kExperts>
__device__ inline int32_t key_of_group(const int32_t (&keys)[kExperts], int lanes) {
  int32_t best = keys[0], second = lowest_key;
#pragma unroll
  for (int j = 1; j < kExperts; ++j) {
    second = max(second, min(best, keys[j]));
    best = max(best, keys[j]);
  }
  for (int width = 1; width < lanes; width *= 2) {
    const int32_t its_best = __shfl_xor_sync(whole_warp, best, width);
    const int32_t its_second = __shfl_xor_sync(whole_warp, second, width);
    second = max(min(best, its_best), max(second, its_second));
    best = max(best, its_best);
  }
  return kExperts * lanes == 1 ? best : rank_key(__fadd_rn(value_of(best), value_of(second)));
}

template <int kExperts>
__global__ void __launch_bounds__(32 * tokens_of_block) route_lanes_kernel(const RouteShape s, int64_t T) {
  __shared__ float chosen_scores[tokens_of_block][32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t t = blockIdx.x * int64_t{tokens_of_block} + warp;
  if (t >= T) return;
  const int lanes = s.E / s.n_groups / kExperts, first = lane * kExperts;
  float logits[kExperts], scores[kExperts];
  int32_t keys[kExperts];
#pragma unroll
  for (int j = 0; j < kExperts; ++j) logits[j] = s.logits[t][first + j];
  sigmoids(logits, scores);
#pragma unroll
  for (int j = 0; j < kExperts; ++j) {
    s.scores[t][first + j] = scores[j];
    keys[j] = rank_key(__fadd_rn(scores[j], s.bias[first + j]));
  }
  const int32_t group_key = key_of_group(keys, lanes);
  bool is_kept = false;
  for (int g = 0; g < s.top_groups; ++g) {
    const int best = best_lane(!is_kept, group_key);
    is_kept = is_kept || best / lanes == lane / lanes;
  }
  uint32_t chosen = 0;
  LaneChoice<kExperts> choice;
  if (is_kept) choice.look(keys, chosen);
  for (int k = 0; k < s.K; ++k) {
    if (best_lane(choice.at >= 0, choice.key) != lane) continue;
    chosen |= 1u << choice.at;
    choice.look(keys, chosen);
  }
  // Ids ascending: lanes, and experts in a lane.
  int before = __popc(chosen);
  for (int width = 1; width < 32; width *= 2) {
    const int lower = __shfl_up_sync(whole_warp, before, width);
    if (lane >= width) before += lower;
  }
  before -= __popc(chosen);
#pragma unroll
  for (int j = 0; j < kExperts; ++j) {
    if ((chosen >> j & 1) == 0) continue;
    chosen_scores[warp][before] = scores[j];
    s.ids[t][before++] = first + j;
  }
  __syncwarp();
  float sum = 0.0f;
  for (int k = 0; k < s.K; ++k) sum = __fadd_rn(sum, chosen_scores[warp][k]);
  if (lane >= s.K) return;
  const float weight = chosen_scores[warp][lane];
  const float share = s.normalize ? __fdiv_rn(weight, __fadd_rn(sum, 1e-20f)) : weight;
  s.weights[t][lane] = __fmul_rn(share, s.scale);
}

/// Launches it where a kernel is made for the shape; else false.
inline bool route_by_lanes(const RouteShape& s, int64_t T, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((T + tokens_of_block - 1) / tokens_of_block);
  const auto launches = [&]<int kExperts>(std::integral_constant<int, kExperts>) {
    if (!goes_by_lanes<kExperts>(s)) return false;
    route_lanes_kernel<kExperts><<<blocks, 32 * tokens_of_block, 0, stream>>>(s, T);
    return true;
  };
  return launches(std::integral_constant<int, 1>()) || launches(std::integral_constant<int, 2>()) ||
         launches(std::integral_constant<int, 4>()) || launches(std::integral_constant<int, 8>());
}

}  // namespace troupe::kernels::cuda
