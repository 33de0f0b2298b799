// Dispatch: all blocks plan where the rank's own rows go and tell the others. Then some bring tokens of other ranks
// into their first row here; the rest spread the rank's own tokens, and what has come, over their rows.
#include <algorithm>

#include "kernels/cuda/exchange/bulk.cuh"
#include "kernels/cuda/exchange/meeting.cuh"

namespace troupe::kernels::cuda {
namespace {

constexpr int threads = 1024, warps = threads / 32;
constexpr int experts_at_once = 2;  ///< that a block plans

constexpr int stage_bytes = 200 << 10;  ///< of a block
constexpr int fetchers = 8;         ///< warps of a block that bring payload; its others bring scales

struct DispatchKernel {
  ExchangeCall call;
  ExchangeRows rows[most_exchange_ranks];
  int stages;  ///< of a fetcher
};

struct PlanTables {
  int32_t counts[experts_at_once][warps], below[experts_at_once][warps];
};

/// Rows of some experts: slots in order, behind those of the experts before at the same rank. By a block.
__device__ void plan_experts(const ExchangeCall& call, const int (&expert)[experts_at_once], PlanTables& tables) {
  const ExchangeTables& own = call.windows[call.rank].tables;
  const int per_rank = call.shape.experts / call.shape.ranks;
  const int64_t slots = call.tokens * call.shape.slots;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t each = (slots + threads - 1) / threads * 32;
  const int64_t begin = warp * each, end = min(begin + each, slots);
  int first[experts_at_once], count[experts_at_once] = {}, below[experts_at_once] = {};
  for (int j = 0; j < experts_at_once; ++j) first[j] = expert[j] / per_rank * per_rank;
#pragma unroll 8
  for (int64_t i = begin; i < end; i += 32) {
    const int id = i + lane < end ? own.ids[i + lane] : -1;
#pragma unroll
    for (int j = 0; j < experts_at_once; ++j) {
      count[j] += __popc(__ballot_sync(0xffffffffu, id == expert[j]));
      below[j] += __popc(__ballot_sync(0xffffffffu, id >= first[j] && id < expert[j]));
    }
  }
  __syncthreads();  // of the experts before
  for (int j = 0; j < experts_at_once && lane == 0; ++j) {
    tables.counts[j][warp] = count[j];
    tables.below[j][warp] = below[j];
  }
  __syncthreads();
  int row[experts_at_once];
  for (int j = 0; j < experts_at_once; ++j) {
    // A lane a warp: below all of them, and the expert's own before this warp's.
    const int offset = static_cast<int>(__reduce_add_sync(0xffffffffu, static_cast<unsigned>(tables.below[j][lane])));
    const int own_count = tables.counts[j][lane];
    const unsigned before = lane < warp ? static_cast<unsigned>(own_count) : 0u;
    row[j] = offset + static_cast<int>(__reduce_add_sync(0xffffffffu, before));
    const int total = static_cast<int>(__reduce_add_sync(0xffffffffu, static_cast<unsigned>(own_count)));
    if (threadIdx.x != 0 || expert[j] >= call.shape.experts) continue;
    int32_t* const offsets = call.windows[call.rank].offsets + expert[j] / per_rank * (per_rank + 1);
    offsets[expert[j] - first[j]] = offset;
    if (expert[j] + 1 == first[j] + per_rank) offsets[per_rank] = offset + total;
  }
#pragma unroll 8
  for (int64_t i = begin; i < end; i += 32) {
    const int id = i + lane < end ? own.ids[i + lane] : -1;
#pragma unroll
    for (int j = 0; j < experts_at_once; ++j) {
      const unsigned mine = __ballot_sync(0xffffffffu, id == expert[j] && id < call.shape.experts);
      if (mine >> lane & 1) {
        own.rows[i + lane] = row[j] + __popc(mine & ((1u << lane) - 1));
      }
      row[j] += __popc(mine);
    }
  }
}

/// A token's experts ascend, and are of no more groups than sums find room for.
__device__ void check_ids(const ExchangeCall& call) {
  const ExchangeShape& x = call.shape;
  const int per_group = x.experts / x.groups;
  for (int64_t t = blockIdx.x * int64_t{threads} + threadIdx.x; t < call.tokens; t += int64_t{gridDim.x} * threads) {
    const int32_t* const ids = call.windows[call.rank].tables.ids + t * x.slots;
    int before = -1, groups = 0;
    bool is_sound = true;
    for (int k = 0; k < x.slots; ++k) {
      const int id = ids[k];
      is_sound = is_sound && id > before && id < x.experts;
      groups += before < 0 || id / per_group != before / per_group;
      before = id;
    }
    if (!is_sound || groups > x.kept_groups) report(call.fault, ExchangeFault::expert_id);
  }
}

__device__ void clear(const ExchangeCall& call) {
  const ExchangeWindow& own = call.windows[call.rank];
  const int64_t chunks = call.shape.ranks * chunks_of(call.shape);
  for (int64_t i = blockIdx.x * int64_t{threads} + threadIdx.x; i < chunks; i += int64_t{gridDim.x} * threads) {
    own.sums_come[i] = own.rows_come[i] = own.sums_made[i] = 0;
  }
}

/// The last block that is done with the plan tells every rank.
__device__ void publish_plan(const ExchangeCall& call) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  uint32_t* const done = call.windows[call.rank].blocks_done;
  __threadfence();
  if (atomicAdd(done, 1u) + 1 < gridDim.x) return;
  *done = 0;
  __threadfence();
  for (int r = 0; r < call.shape.ranks; ++r) {
    store_release(call.windows[r].plan_ready + call.rank, flag_of(call.generation, call.tokens));
  }
}

constexpr int parts = 2;    ///< of a token, for warps to share it
constexpr int at_once = 7;  ///< of a lane's 16 bytes that are read before the first are written

/// Copies bytes [begin, end), multiples of 16, of a token of `bytes` to each row in `slots` of `to`. By a warp; `row`
/// is its lanes' slots'.
__device__ void spread(const char* from, char* to, int64_t bytes, int64_t begin, int64_t end, unsigned slots,
                       int32_t row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t first = begin; first < end; first += at_once * 512) {
    uint4 v[at_once];
#pragma unroll
    for (int i = 0; i < at_once; ++i) {
      const int64_t at = first + i * 512 + lane * 16;
      if (at < end) v[i] = __ldcg(reinterpret_cast<const uint4*>(from + at));
    }
    for (unsigned left = slots; left != 0; left &= left - 1) {
      char* const target = to + __shfl_sync(0xffffffffu, row, __ffs(static_cast<int>(left)) - 1) * bytes;
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int64_t at = first + i * 512 + lane * 16;
        if (at < end) *reinterpret_cast<uint4*>(target + at) = v[i];
      }
    }
  }
}

/// Tokens of a chunk, a lane each: the first row of each here; -1: none.
__device__ int32_t first_rows(const ExchangeCall& call, int source, const Chunk& chunk) {
  const ExchangeTables& tables = call.windows[source].tables;
  const int lane = static_cast<int>(threadIdx.x) % 32, K = call.shape.slots;
  const int per_rank = call.shape.experts / call.shape.ranks;
  int32_t row = -1;
  if (lane >= chunk.count) return row;
  int4 ids[most_exchange_slots / 4], rows[most_exchange_slots / 4];
  const int64_t at = (chunk.first + lane) * K / 4;
#pragma unroll
  for (int i = 0; i < most_exchange_slots / 4; ++i) {
    if (4 * i >= K) break;
    ids[i] = __ldcg(reinterpret_cast<const int4*>(tables.ids) + at + i);
    rows[i] = __ldcg(reinterpret_cast<const int4*>(tables.rows) + at + i);
  }
  const auto look = [&](int id, int its) {
    if (row < 0 && id >= 0 && id / per_rank == call.rank) row = its;
  };
#pragma unroll
  for (int i = 0; i < most_exchange_slots / 4; ++i) {
    if (4 * i >= K) break;
    look(ids[i].x, rows[i].x);
    look(ids[i].y, rows[i].y);
    look(ids[i].z, rows[i].z);
    look(ids[i].w, rows[i].w);
  }
  return row;
}

/// Tokens of another rank into the first of their rows here.
__device__ void bring_payload(const DispatchKernel& kernel, int source, uint64_t* barriers, uint32_t memory) {
  const ExchangeCall& call = kernel.call;
  const int64_t bytes = call.shape.row_bytes, tokens = tokens_of(call, source);
  const char* const from = call.windows[source].payload;
  char* const to = kernel.rows[source].payload;
  BulkCopies copies(barriers, memory, static_cast<uint32_t>(bytes), static_cast<uint32_t>(kernel.stages));
  const WarpShare share = share_of_remote_block(call, warp_number(), fetchers);
  for (int64_t c = share.first; c < chunks_of(call, tokens); c += share.step) {
    const Chunk chunk = chunk_at(call, tokens, c);
    const int32_t row = first_rows(call, source, chunk);
    const unsigned with = __ballot_sync(0xffffffffu, row >= 0);
    const int nth = static_cast<int>(__fns(with, 0, static_cast<int>(threadIdx.x) % 32 + 1));  // lane i: the i-th token
    const auto token = [nth](int i) { return __shfl_sync(0xffffffffu, nth, i); };
    copies.run(__popc(with), [&](int i) { return from + (chunk.first + token(i)) * bytes; },
               [&](int i) { return to + __shfl_sync(0xffffffffu, row, token(i)) * bytes; });
    copies.finish();
    count_for_gpu(of_chunk(call.windows[call.rank].rows_come, call, source, c));
  }
}

/// Their scales into all of them.
__device__ void bring_scales(const DispatchKernel& kernel, int source) {
  const ExchangeCall& call = kernel.call;
  const int64_t bytes = call.shape.scale_bytes, tokens = tokens_of(call, source);
  const char* const from = call.windows[source].scales;
  const WarpShare share = share_of_remote_block(call, warp_number() - fetchers, warps - fetchers);
  for (int64_t c = share.first; c < chunks_of(call, tokens); c += share.step) {
    const Chunk chunk = chunk_at(call, tokens, c);
    for (int64_t t = chunk.first; t < chunk.first + chunk.count && bytes > 0; ++t) {
      const LaneSlot slot = lane_slot(call, source, t);
      const unsigned here = __ballot_sync(0xffffffffu, slot.is_here);
      spread(from + t * bytes, kernel.rows[source].scales, bytes, 0, bytes, here, slot.row);
    }
    count_for_gpu(of_chunk(call.windows[call.rank].rows_come, call, source, c));
  }
}

/// The rank's own tokens into all of their rows.
__device__ void spread_own(const DispatchKernel& kernel) {
  const ExchangeCall& call = kernel.call;
  const ExchangeShape& x = call.shape;
  const ExchangeWindow& own = call.windows[call.rank];
  const ExchangeRows& to = kernel.rows[call.rank];
  const int64_t tokens = tokens_of(call, call.rank), units = x.row_bytes / 16;
  const WarpShare share = share_of_local_block(call);
  for (int64_t item = share.first; item < tokens * parts; item += share.step) {
    const int64_t t = item / parts, part = item % parts;
    const LaneSlot slot = lane_slot(call, call.rank, t);
    const unsigned here = __ballot_sync(0xffffffffu, slot.is_here);
    spread(own.payload + t * x.row_bytes, to.payload, x.row_bytes, units * part / parts * 16,
           units * (part + 1) / parts * 16, here, slot.row);
    if (part == 0) spread(own.scales + t * x.scale_bytes, to.scales, x.scale_bytes, 0, x.scale_bytes, here, slot.row);
  }
}

/// What has come from another rank into the further rows.
__device__ void spread_come(const DispatchKernel& kernel, int source) {
  const ExchangeCall& call = kernel.call;
  const int64_t bytes = call.shape.row_bytes, units = bytes / 16;
  char* const rows = kernel.rows[source].payload;
  const int64_t tokens = tokens_of(call, source);
  const WarpShare share = share_of_local_block(call);
  for (int64_t item = share.first; item < tokens * parts; item += share.step) {
    const int64_t t = item / parts, part = item % parts;
    const LaneSlot slot = lane_slot(call, source, t);
    const unsigned here = __ballot_sync(0xffffffffu, slot.is_here);
    const unsigned further = here & (here - 1);
    if (further == 0) continue;
    wait_until(of_chunk(call.windows[call.rank].rows_come, call, source, t / chunk_of(call.shape)), 2u, call);
    const int64_t first = __shfl_sync(0xffffffffu, slot.row, __ffs(static_cast<int>(here)) - 1);
    spread(rows + first * bytes, rows, bytes, units * part / parts * 16, units * (part + 1) / parts * 16, further,
           slot.row);
  }
}

/// Offsets of a source's rows here, as it has planned them.
__device__ void bring_offsets(const DispatchKernel& kernel, int source) {
  const ExchangeCall& call = kernel.call;
  const int per_rank = call.shape.experts / call.shape.ranks;
  const int32_t* const from = call.windows[source].offsets + call.rank * (per_rank + 1);
  const bool is_there = tokens_of(call, source) > 0;
  for (int e = static_cast<int>(threadIdx.x) % 32; e <= per_rank; e += 32) {
    kernel.rows[source].offsets[e] = is_there ? __ldcg(from + e) : 0;
  }
}

__global__ __launch_bounds__(threads, 1) void dispatch_kernel(const __grid_constant__ DispatchKernel kernel) {
  __shared__ PlanTables tables;
  const ExchangeCall& call = kernel.call;
  check_ids(call);
  clear(call);
  const int blocks = static_cast<int>(gridDim.x);
  for (int e = static_cast<int>(blockIdx.x); e < call.shape.experts; e += experts_at_once * blocks) {
    plan_experts(call, {e, e + blocks}, tables);
  }
  publish_plan(call);
  const int warp = warp_number();
  if (is_remote_block(call)) {
    extern __shared__ __align__(128) char stages[];
    __shared__ uint64_t barriers[fetchers * BulkCopies::most_stages];
    tokens_of(call, call.rank);  // its own plan: counts have been cleared
    if (warp >= fetchers) return bring_scales(kernel, rank_of_block(call));
    return bring_payload(kernel, rank_of_block(call), barriers + warp * BulkCopies::most_stages,
                         shared_address(stages + warp * kernel.stages * call.shape.row_bytes));
  }
  if (static_cast<int>(blockIdx.x) == call.remote_blocks && warp < call.shape.ranks) bring_offsets(kernel, warp);
  spread_own(kernel);
  for (int i = 1; i < call.shape.ranks; ++i) spread_come(kernel, (call.rank + i) % call.shape.ranks);
}

}  // namespace

void exchange_dispatch(const ExchangeCall& call, const ExchangeRows (&rows)[most_exchange_ranks],
                       cudaStream_t stream) {
  expect_sound(call);
  DispatchKernel kernel{};
  kernel.call = call;
  for (int r = 0; r < call.shape.ranks; ++r) kernel.rows[r] = rows[r];
  const int row_bytes = static_cast<int>(call.shape.row_bytes);
  kernel.stages = std::min(BulkCopies::most_stages, stage_bytes / (fetchers * row_bytes));
  launch("exchange_dispatch", dispatch_kernel, dim3(static_cast<unsigned>(call.remote_blocks + call.local_blocks)),
         threads, fetchers * kernel.stages * row_bytes, 0, stream, kernel);
}

}  // namespace troupe::kernels::cuda
