// Routing as DeepSeek-V3 has it, 8 experts of 4 out of 8 groups: eight lanes a token, a group each, so that a warp
// asks its questions of four tokens at once. What route_kernel (routing.cu) computes.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/sigmoid.cuh"
#include "kernels/cuda/route_shape.cuh"

namespace troupe::kernels::cuda {

constexpr int grouped_tokens = 4;       ///< of a warp
constexpr int grouped_warps = 2;        ///< of a block
constexpr int routed_groups = 8, kept_groups = 4, chosen_experts = 8;

/// What the lanes of a warp give each other. A group's keys stand four places apart from the next one's: lanes that
/// read a group each meet no bank twice.
template <int kSize>
struct GroupsShared {
  static constexpr int experts = routed_groups * kSize, apart = kSize + 4;
  float scores[grouped_tokens][experts];
  int32_t keys[grouped_tokens][routed_groups][apart];
  int kept[grouped_tokens][kept_groups];
  int ids[grouped_tokens][chosen_experts];
};

/// The greater ones to the front.
template <int n>
__device__ inline void exchange(int32_t (&v)[n], int a, int b) {
  const int32_t greater = max(v[a], v[b]);
  v[b] = min(v[a], v[b]);
  v[a] = greater;
}
/// Sorts eight from `first` on, the greatest first.
template <int n>
__device__ inline void sort_eight(int32_t (&v)[n], int first) {
  sorting_network<8>([&](int a, int b) { exchange(v, first + a, first + b); });
}
/// The same of eight that rise and then fall, or fall and then rise.
__device__ inline void sort_bitonic(int32_t (&v)[8]) {
#pragma unroll
  for (int k = 4; k >= 1; k /= 2) {
#pragma unroll
    for (int a = 0; a < 8; ++a) {
      if (a / k % 2 == 0) exchange(v, a, a + k);
    }
  }
}

/// The least of the eight greatest keys of all lanes of a token, of which each has n.
template <int n>
__device__ inline int32_t eighth_key(const int32_t (&keys)[n]) {
  int32_t v[n < 8 ? 8 : n], best[8];
#pragma unroll
  for (int i = 0; i < (n < 8 ? 8 : n); ++i) v[i] = i < n ? keys[i] : lowest_key;
  sort_eight(v, 0);
  if constexpr (n == 16) {
    sort_eight(v, 8);
#pragma unroll
    for (int i = 0; i < 8; ++i) best[i] = max(v[i], v[15 - i]);
    sort_bitonic(best);
  } else {
    static_assert(n <= 8);
#pragma unroll
    for (int i = 0; i < 8; ++i) best[i] = v[i];
  }
#pragma unroll
  for (int step = 1; step < 8; step *= 2) {
    int32_t other[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) other[i] = __shfl_xor_sync(whole_warp, best[7 - i], step);
#pragma unroll
    for (int i = 0; i < 8; ++i) best[i] = max(best[i], other[i]);
    if (step < 4) sort_bitonic(best);
  }
  return min(min(min(best[0], best[1]), min(best[2], best[3])), min(min(best[4], best[5]), min(best[6], best[7])));
}

/// The sum of a token's lanes' counts, of lower lanes and this one.
__device__ inline int places_up_to(int count, int place) {
#pragma unroll
  for (int step = 1; step < routed_groups; step *= 2) {
    const int lower = __shfl_up_sync(whole_warp, count, step, routed_groups);
    if (place >= step) count += lower;
  }
  return count;
}

/// `chosen`, of which the last that have but the eighth key are taken out, until a token has eight.
template <int n>
__device__ inline unsigned without_later_ties(const int32_t (&keys)[n], int32_t eighth, unsigned chosen, int place) {
  unsigned equal = 0;
#pragma unroll
  for (int i = 0; i < n; ++i) equal |= keys[i] == eighth ? 1u << i : 0u;
  const int above_up_to = places_up_to(__popc(chosen ^ equal), place), equal_up_to = places_up_to(__popc(equal), place);
  const int above = __shfl_sync(whole_warp, above_up_to, routed_groups - 1, routed_groups);
  const int excess = equal_up_to - (chosen_experts - above);  // of this lane's and lower ones
  for (int i = 0; i < excess && equal != 0; ++i) {
    const unsigned last = 0x80000000u >> __clz(static_cast<int>(equal));
    equal ^= last;
    chosen ^= last;
  }
  return chosen;
}

/// Scores and keys of a warp's tokens, from `first` on, four neighbouring experts at a time as they lie in memory.
template <int kSize>
__device__ inline void score_tokens(const RouteShape& s, int64_t first, int64_t T, int lane,
                                    GroupsShared<kSize>& shared) {
  constexpr int fours = GroupsShared<kSize>::experts / 4, of_lane = grouped_tokens * fours / 32;
  constexpr int biases = fours < 32 ? 1 : fours / 32;
  float4 bias[biases], logits[of_lane];
#pragma unroll
  for (int i = 0; i < biases; ++i) {
    bias[i] = __ldg(reinterpret_cast<const float4*>(s.bias) + (32 * i + lane) % fours);
  }
#pragma unroll
  for (int i = 0; i < of_lane; ++i) {
    const int64_t t = min(first + (32 * i + lane) / fours, T - 1);
    logits[i] = __ldcs(reinterpret_cast<const float4*>(s.logits[t]) + (32 * i + lane) % fours);
  }
#pragma unroll
  for (int i = 0; i < of_lane; ++i) {
    const int token = (32 * i + lane) / fours, e = (32 * i + lane) % fours * 4;
    const float x[4] = {logits[i].x, logits[i].y, logits[i].z, logits[i].w};
    float score[4];
    sigmoids(x, score);
    const float4 four = make_float4(score[0], score[1], score[2], score[3]);
    if (first + token < T) *reinterpret_cast<float4*>(s.scores[first + token] + e) = four;
    *reinterpret_cast<float4*>(&shared.scores[token][e]) = four;
    const float4& b = bias[i % biases];
    *reinterpret_cast<int4*>(&shared.keys[token][e / kSize][e % kSize]) =
        make_int4(rank_key(__fadd_rn(score[0], b.x)), rank_key(__fadd_rn(score[1], b.y)),
                  rank_key(__fadd_rn(score[2], b.z)), rank_key(__fadd_rn(score[3], b.w)));
  }
}

/// The groups that are kept: by the sum of their two best keys, a tie to the lower one. A lane has group `place`.
template <int kSize>
__device__ inline void keep_groups(int token, int place, GroupsShared<kSize>& shared) {
  int32_t best = lowest_key, second = lowest_key;
#pragma unroll
  for (int i = 0; i < kSize; i += 4) {
    const int4 four = *reinterpret_cast<const int4*>(&shared.keys[token][place][i]);
    for (const int32_t key : {four.x, four.y, four.z, four.w}) {
      second = max(second, min(best, key));
      best = max(best, key);
    }
  }
  const int32_t group_key = rank_key(__fadd_rn(value_of(best), value_of(second)));
  int before = 0;
#pragma unroll
  for (int away = 1; away < routed_groups; ++away) {
    const int32_t other = __shfl_xor_sync(whole_warp, group_key, away);
    before += other > group_key || (other == group_key && (place ^ away) < place);
  }
  const bool is_kept = before < kept_groups;
  const unsigned kept = __ballot_sync(whole_warp, is_kept) >> (routed_groups * token) & 0xff;
  if (is_kept) shared.kept[token][__popc(kept & ((1u << place) - 1u))] = place;
}

/// The experts that are chosen, ascending: those above the eighth key, and of those that have it the lowest ids. Two
/// lanes share a group that is kept.
template <int kSize>
__device__ inline void choose_experts(int token, int place, GroupsShared<kSize>& shared) {
  constexpr int n = kSize / 2;
  const int group = shared.kept[token][place / 2], offset = place % 2 * n;
  int32_t keys[n];
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const int4 four = *reinterpret_cast<const int4*>(&shared.keys[token][group][offset + i]);
    keys[i] = four.x, keys[i + 1] = four.y, keys[i + 2] = four.z, keys[i + 3] = four.w;
  }
  const int32_t eighth = eighth_key(keys);
  unsigned chosen = 0;
#pragma unroll
  for (int i = 0; i < n; ++i) chosen |= keys[i] >= eighth ? 1u << i : 0u;
  int up_to = places_up_to(__popc(chosen), place);
  const int found = __shfl_sync(whole_warp, up_to, routed_groups - 1, routed_groups);
  if (__any_sync(whole_warp, found > chosen_experts)) {
    chosen = without_later_ties(keys, eighth, chosen, place);
    up_to = places_up_to(__popc(chosen), place);
  }
  int at = up_to - __popc(chosen);
  for (unsigned left = chosen; left != 0; left &= left - 1) {
    shared.ids[token][at++] = group * kSize + offset + __ffs(static_cast<int>(left)) - 1;
  }
}

/// kSize: experts of a group.
template <int kSize>
__global__ void __launch_bounds__(32 * grouped_warps) route_groups_kernel(const RouteShape s, int64_t T) {
  __shared__ __align__(16) GroupsShared<kSize> of_warps[grouped_warps];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t first = (blockIdx.x * int64_t{grouped_warps} + warp) * grouped_tokens;
  if (first >= T) return;
  GroupsShared<kSize>& shared = of_warps[warp];
  const int token = lane / routed_groups, place = lane % routed_groups;
  score_tokens(s, first, T, lane, shared);
  __syncwarp();
  keep_groups(token, place, shared);
  __syncwarp();
  choose_experts(token, place, shared);
  __syncwarp();
  const int id = shared.ids[token][place];
  const float score = shared.scores[token][id];
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < chosen_experts; ++k) sum = __fadd_rn(sum, __shfl_sync(whole_warp, score, k, chosen_experts));
  if (first + token >= T) return;
  s.weights[first + token][place] = s.weight_of(score, sum);
  s.ids[first + token][place] = id;
}

template <int kSize>
void launch_route_groups(const RouteShape& s, int64_t T, cudaStream_t stream) {
  constexpr int tokens = grouped_tokens * grouped_warps;
  route_groups_kernel<kSize><<<blocks_for(T, tokens), 32 * grouped_warps, 0, stream>>>(s, T);
}

/// Launches it where a kernel is made for the shape; else false.
inline bool route_by_groups(const RouteShape& s, int64_t T, cudaStream_t stream) {
  if (s.n_groups != routed_groups || s.top_groups != kept_groups || s.K != chosen_experts) return false;
  if (!s.is_in_fours()) return false;
  switch (s.E / routed_groups) {
    case 8: launch_route_groups<8>(s, T, stream); return true;
    case 16: launch_route_groups<16>(s, T, stream); return true;
    case 32: launch_route_groups<32>(s, T, stream); return true;
    default: return false;
  }
}

}  // namespace troupe::kernels::cuda
