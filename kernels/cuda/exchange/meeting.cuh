// How blocks and GPUs meet: numbers in each other's memory, and who serves which rank.
#pragma once

#include <cstdint>

#include "kernels/cuda/exchange/exchange_launch.h"

namespace troupe::kernels::cuda {

__device__ inline uint64_t load_acquire(const uint64_t* flag) {
  uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}
__device__ inline uint32_t load_acquire(const uint32_t* count) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(count) : "memory");
  return value;
}

/// What this thread has seen, others' writes too, is there for who sees the flag.
__device__ inline void store_release(uint64_t* flag, uint64_t value) {
  asm volatile("fence.acq_rel.sys;" ::: "memory");
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
}

/// Counts one up when the warp's writes are there for who sees it, on this GPU or on another.
__device__ inline void count_for_gpu(uint32_t* count) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
}
__device__ inline void count_for_other(uint32_t* count) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) asm volatile("red.release.sys.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
}
__device__ inline uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__device__ inline void report(uint32_t* fault, ExchangeFault what) {
  atomicCAS(fault, static_cast<uint32_t>(ExchangeFault::none), static_cast<uint32_t>(what));
}

__device__ inline bool has_lost_peer(const ExchangeCall& call) {
  return *static_cast<const volatile uint32_t*>(call.fault) == static_cast<uint32_t>(ExchangeFault::lost_peer);
}

/// Waits, as a warp, until the number is at least `wanted`, and returns it. A peer that does not come is a fault, and
/// its number as it is; behind such a fault nobody waits any more.
template <class T>
__device__ inline T wait_until(const T* number, T wanted, const ExchangeCall& call) {
  T found = 0;
  if (threadIdx.x % 32 == 0) {
    found = load_acquire(number);
    for (uint64_t end = 0; found < wanted; found = load_acquire(number)) {
      const uint64_t now = nanoseconds();
      if (end == 0) end = now + call.patience_ns;
      if (now < end && !has_lost_peer(call)) continue;
      report(call.fault, ExchangeFault::lost_peer);
      break;
    }
  }
  __syncwarp();
  return __shfl_sync(0xffffffffu, found, 0);
}

__device__ inline uint64_t flag_of(uint32_t generation, int64_t count) {
  return uint64_t{generation} << 32 | static_cast<uint64_t>(count);
}

/// How many tokens a source has in this generation, when its plan is there; 0 if it does not come. Of who is further,
/// and has passed this generation's combine, there is nothing left to be done here: 0 too.
__device__ inline int64_t tokens_of(const ExchangeCall& call, int source) {
  const uint64_t* const flag = call.windows[call.rank].plan_ready + source;
  const uint64_t found = wait_until(flag, flag_of(call.generation, 0), call);
  return found >> 32 == call.generation ? static_cast<int64_t>(found & 0xffffffffu) : 0;
}

/// Neighbouring tokens.
struct Chunk {
  int64_t first;
  int count;
};
__device__ inline Chunk chunk_at(const ExchangeCall& call, int64_t tokens, int64_t number) {
  const int64_t each = chunk_of(call.shape), first = number * each;
  return {first, static_cast<int>(min(each, tokens - first))};
}
__device__ inline int64_t chunks_of(const ExchangeCall& call, int64_t tokens) {
  return (tokens + chunk_of(call.shape) - 1) / chunk_of(call.shape);
}
__device__ inline uint32_t* of_chunk(uint32_t* counts, const ExchangeCall& call, int rank, int64_t number) {
  return counts + rank * chunks_of(call.shape) + number;
}

/// Some warps of some blocks take items in turn, first one of each block.
struct WarpShare {
  int64_t first, step;
};
__device__ inline WarpShare warp_share(int block, int blocks, int warp, int warps) {
  return {warp * int64_t{blocks} + block, int64_t{blocks} * warps};
}
__device__ inline int warp_number() { return static_cast<int>(threadIdx.x) / 32; }
__device__ inline int warps_of_block() { return static_cast<int>(blockDim.x) / 32; }

/// The first `remote_blocks` of a call serve the other ranks in turn.
__device__ inline bool is_remote_block(const ExchangeCall& call) {
  return static_cast<int>(blockIdx.x) < call.remote_blocks;
}
__device__ inline int rank_of_block(const ExchangeCall& call) {
  return (call.rank + 1 + static_cast<int>(blockIdx.x) % (call.shape.ranks - 1)) % call.shape.ranks;
}
/// Of warp `warp` of the `warps` in each of these blocks that share the work.
__device__ inline WarpShare share_of_remote_block(const ExchangeCall& call, int warp, int warps) {
  const int others = call.shape.ranks - 1;
  return warp_share(static_cast<int>(blockIdx.x) / others, call.remote_blocks / others, warp, warps);
}
__device__ inline WarpShare share_of_local_block(const ExchangeCall& call) {
  const int block = static_cast<int>(blockIdx.x) - call.remote_blocks;
  return warp_share(block, call.local_blocks, warp_number(), warps_of_block());
}

/// A token's slots, one a lane; lanes from K on have none.
struct LaneSlot {
  int32_t id = -1, row = 0;
  bool is_here = false, ends_group = false;
};
__device__ inline LaneSlot lane_slot(const ExchangeCall& call, int source, int64_t token) {
  const ExchangeTables& tables = call.windows[source].tables;
  const int lane = static_cast<int>(threadIdx.x) % 32, K = call.shape.slots;
  LaneSlot slot;
  if (lane < K) {
    slot.id = __ldcg(tables.ids + token * K + lane);
    slot.row = __ldcg(tables.rows + token * K + lane);
  }
  const int per_rank = call.shape.experts / call.shape.ranks, per_group = call.shape.experts / call.shape.groups;
  const int next = __shfl_down_sync(0xffffffffu, slot.id, 1);
  slot.is_here = slot.id >= 0 && slot.id / per_rank == call.rank;
  slot.ends_group = lane < K && (lane + 1 == K || next / per_group != slot.id / per_group);
  return slot;
}

}  // namespace troupe::kernels::cuda
