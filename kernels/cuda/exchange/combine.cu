// Combine: most blocks sum the groups of other ranks' tokens whose experts are here; some write these sums into the
// sources' windows; the first then add their own tokens' groups, sums of other ranks as they come.

#include <algorithm>

#include "kernels/cuda/device/bf16_pair.cuh"
#include "kernels/cuda/exchange/bulk.cuh"
#include "kernels/cuda/exchange/meeting.cuh"

namespace troupe::kernels::cuda {
namespace {

constexpr int threads = 512;
constexpr int columns = 8;             ///< of a lane at a time: 16 bytes of bf16
constexpr int stride = 32 * columns;   ///< of a warp
constexpr int stage_bytes = 200 << 10;  ///< of a block that sends
constexpr int senders = 4;             ///< warps of it

struct CombineKernel {
  ExchangeCall call;
  const uint16_t* answers[most_exchange_ranks];
  float* y;
  int stages;  ///< of a sender
};

/// What goes into a token's sums, the same in every lane of a warp.
class TokenRows {
 public:
  __device__ TokenRows(const ExchangeCall& call, int source, int64_t token) {
    const LaneSlot slot = lane_slot(call, source, token);
    const int lane = static_cast<int>(threadIdx.x) % 32, K = call.shape.slots;
    const float* const weights = call.windows[source].tables.weights;
    const float weight = lane < K ? __ldcg(weights + token * K + lane) : 0.0f;
    here_ = __ballot_sync(0xffffffffu, slot.is_here);
    ends_ = __ballot_sync(0xffffffffu, slot.ends_group);
#pragma unroll
    for (int k = 0; k < most_exchange_slots; ++k) {
      rows_[k] = __shfl_sync(0xffffffffu, slot.row, k);
      weights_[k] = __shfl_sync(0xffffffffu, weight, k);
    }
    // More groups than sums find room for: the plan has reported it.
    while (__popc(ends_) > call.shape.kept_groups) ends_ &= ~(0x80000000u >> __clz(static_cast<int>(ends_)));
  }

  /// Calls take(group, sum) with each group's sum of eight columns, rounded, in order; sum_of(group) loads those of
  /// other ranks, if they are wanted.
  template <bool kOthers, class SumOf, class Take>
  __device__ void for_groups(const uint16_t* answers, int64_t D, SumOf sum_of, Take take) const {
    uint4 eights[most_exchange_slots];
    int group = 0;
#pragma unroll
    for (int k = 0; k < most_exchange_slots; ++k) {
      if (here_ >> k & 1) {
        eights[k] = __ldg(reinterpret_cast<const uint4*>(answers + rows_[k] * D));
      } else if (kOthers && (ends_ >> k & 1)) {
        eights[k] = sum_of(group);
      }
      group += static_cast<int>(ends_ >> k & 1);
    }
    float sum[columns] = {};
    group = 0;
#pragma unroll
    for (int k = 0; k < most_exchange_slots; ++k) {
      const bool ends = ends_ >> k & 1;
      if (here_ >> k & 1) {
        float v[columns];
        unpack(eights[k], v);
#pragma unroll
        for (int i = 0; i < columns; ++i) sum[i] = __fmaf_rn(weights_[k], v[i], sum[i]);
        if (ends) {
          take(group, packed(sum));
#pragma unroll
          for (int i = 0; i < columns; ++i) sum[i] = 0.0f;
        }
      } else if (kOthers && ends) {
        take(group, eights[k]);
      }
      group += ends;
    }
  }

 private:
  unsigned here_, ends_;  ///< of slots
  int32_t rows_[most_exchange_slots];
  float weights_[most_exchange_slots];
};

/// Of a token's columns, for warps to share it: few tokens are soon done so.
__device__ int parts_of(const ExchangeCall& call) { return call.shape.tokens <= 1024 ? 4 : 2; }

struct ColumnRange {
  int64_t begin, end;
};
__device__ ColumnRange columns_of(int part, int parts, int64_t D) {
  const int64_t strides = (D + stride - 1) / stride;
  return {strides * part / parts * stride, min(D, strides * (part + 1) / parts * stride)};
}

__device__ uint16_t* made_for(const ExchangeCall& call, int source, int64_t token) {
  const ExchangeShape& x = call.shape;
  return call.windows[call.rank].made + (source * x.tokens + token) * x.kept_groups * x.columns;
}

/// Sums of the groups that are here, of a source's tokens.
__device__ void make_sums(const CombineKernel& kernel, int source) {
  const ExchangeCall& call = kernel.call;
  const int64_t D = call.shape.columns, tokens = tokens_of(call, source);
  const WarpShare share = share_of_local_block(call);
  const int lane = static_cast<int>(threadIdx.x) % 32, parts = parts_of(call);
  for (int64_t item = share.first; item < tokens * parts; item += share.step) {
    const int64_t t = item / parts;
    const TokenRows rows(call, source, t);
    uint16_t* const made = made_for(call, source, t);
    const ColumnRange range = columns_of(static_cast<int>(item % parts), parts, D);
#pragma unroll 2
    for (int64_t c = range.begin + lane * columns; c < range.end; c += stride) {
      rows.for_groups<false>(kernel.answers[source] + c, D, [](int) { return uint4{}; },
                             [&](int group, const uint4& sum) {
                               *reinterpret_cast<uint4*>(made + group * D + c) = sum;
                             });
    }
    count_for_gpu(of_chunk(call.windows[call.rank].sums_made, call, source, t / chunk_of(call.shape)));
  }
}

/// Tokens of a chunk, a lane each: a bit for each of their groups that are here.
__device__ unsigned groups_here(const ExchangeCall& call, int source, const Chunk& chunk) {
  const int lane = static_cast<int>(threadIdx.x) % 32, K = call.shape.slots;
  const int per_rank = call.shape.experts / call.shape.ranks, per_group = call.shape.experts / call.shape.groups;
  unsigned groups = 0;
  if (lane >= chunk.count) return groups;
  int4 ids[most_exchange_slots / 4];
  const int32_t* const of_token = call.windows[source].tables.ids + (chunk.first + lane) * K;
  const int4* const from = reinterpret_cast<const int4*>(of_token);
#pragma unroll
  for (int i = 0; i < most_exchange_slots / 4; ++i) {
    if (4 * i < K) ids[i] = __ldcg(from + i);
  }
  int group = -1, before = -1;
  const auto look = [&](int id) {
    group += before < 0 || id / per_group != before / per_group;
    before = id;
    if (id >= 0 && id / per_rank == call.rank && group < call.shape.kept_groups) groups |= 1u << group;
  };
#pragma unroll
  for (int i = 0; i < most_exchange_slots / 4; ++i) {
    if (4 * i >= K) break;
    look(ids[i].x);
    look(ids[i].y);
    look(ids[i].z);
    look(ids[i].w);
  }
  return groups;
}

/// Sums that have been made into their source's window.
__device__ void send_sums(const CombineKernel& kernel, int source, uint64_t* barriers, uint32_t memory) {
  const ExchangeCall& call = kernel.call;
  const ExchangeWindow& there = call.windows[source];
  const int64_t D = call.shape.columns, kept = call.shape.kept_groups, tokens = tokens_of(call, source);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  BulkCopies copies(barriers, memory, static_cast<uint32_t>(2 * D), static_cast<uint32_t>(kernel.stages));
  const WarpShare share = share_of_remote_block(call, warp_number(), senders);
  for (int64_t c = share.first; c < chunks_of(call, tokens); c += share.step) {
    const Chunk chunk = chunk_at(call, tokens, c);
    const unsigned groups = groups_here(call, source, chunk);
    // Lane i has the places in [token, group] of the chunk's i-th sum that is here, and of the one 32 behind it.
    int count = 0, places[2] = {};
    for (int token = 0; token < chunk.count; ++token) {
      const unsigned its = __shfl_sync(0xffffffffu, groups, token);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int nth = lane + 32 * half - count;
        if (nth >= 0 && nth < __popc(its)) places[half] = static_cast<int>(token * kept + __fns(its, 0, nth + 1));
      }
      count += __popc(its);
    }
    const auto place = [&](int i) {
      return chunk.first * kept + __shfl_sync(0xffffffffu, i < 32 ? places[0] : places[1], i % 32);
    };
    const auto wanted = static_cast<uint32_t>(parts_of(call) * chunk.count);
    const uint32_t made_here = wait_until(of_chunk(call.windows[call.rank].sums_made, call, source, c), wanted, call);
    if (made_here < wanted) return;  // a fault: the source is not told, and finds it out
    const uint16_t* const made = made_for(call, source, 0);
    copies.run(count, [&](int i) { return made + place(i) * D; }, [&](int i) { return there.sums + place(i) * D; });
    copies.finish();
    count_for_other(of_chunk(there.sums_come, call, call.rank, c));
  }
}

__device__ void add_groups(const CombineKernel& kernel) {
  const ExchangeCall& call = kernel.call;
  const ExchangeWindow& own = call.windows[call.rank];
  const int64_t D = call.shape.columns;
  const WarpShare share = share_of_local_block(call);
  const int lane = static_cast<int>(threadIdx.x) % 32, parts = parts_of(call);
  for (int64_t item = share.first; item < call.tokens * parts; item += share.step) {
    const int64_t t = item / parts;
    const TokenRows rows(call, call.rank, t);
    for (int r = 0; r < call.shape.ranks; ++r) {
      if (r == call.rank) continue;
      wait_until(of_chunk(own.sums_come, call, r, t / chunk_of(call.shape)), 1u, call);
    }
    const uint16_t* const sums = own.sums + t * call.shape.kept_groups * D;
    const ColumnRange range = columns_of(static_cast<int>(item % parts), parts, D);
#pragma unroll 2
    for (int64_t c = range.begin + lane * columns; c < range.end; c += stride) {
      float total[columns] = {};
      bool is_first = true;
      rows.for_groups<true>(kernel.answers[call.rank] + c, D,
                            [&](int group) { return __ldcg(reinterpret_cast<const uint4*>(sums + group * D + c)); },
                            [&](int, const uint4& sum) {
                              float v[columns];
                              unpack(sum, v);
#pragma unroll
                              for (int i = 0; i < columns; ++i) total[i] = is_first ? v[i] : __fadd_rn(total[i], v[i]);
                              is_first = false;
                            });
      float4* const y = reinterpret_cast<float4*>(kernel.y + t * D + c);
      __stcs(y, float4{total[0], total[1], total[2], total[3]});
      __stcs(y + 1, float4{total[4], total[5], total[6], total[7]});
    }
  }
}

__global__ __launch_bounds__(threads, 1) void combine_kernel(const __grid_constant__ CombineKernel kernel) {
  const ExchangeCall& call = kernel.call;
  if (is_remote_block(call)) {
    extern __shared__ __align__(128) char stages[];
    __shared__ uint64_t barriers[senders * BulkCopies::most_stages];
    const int warp = warp_number();
    if (warp >= senders) return;
    return send_sums(kernel, rank_of_block(call), barriers + warp * BulkCopies::most_stages,
                     shared_address(stages + warp * kernel.stages * 2 * call.shape.columns));
  }
  for (int i = 1; i < call.shape.ranks; ++i) make_sums(kernel, (call.rank + i) % call.shape.ranks);
  add_groups(kernel);
}

}  // namespace

void exchange_combine(const ExchangeCall& call, const uint16_t* const (&answers)[most_exchange_ranks], float* y,
                      cudaStream_t stream) {
  expect_sound(call);
  CombineKernel kernel{};
  kernel.call = call;
  kernel.y = y;
  for (int r = 0; r < call.shape.ranks; ++r) kernel.answers[r] = answers[r];
  const int row_bytes = static_cast<int>(2 * call.shape.columns);
  kernel.stages = std::min(BulkCopies::most_stages, stage_bytes / (senders * row_bytes));
  launch("exchange_combine", combine_kernel, dim3(static_cast<unsigned>(call.remote_blocks + call.local_blocks)),
         threads, senders * kernel.stages * row_bytes, 0, stream, kernel);
}

}  // namespace troupe::kernels::cuda
