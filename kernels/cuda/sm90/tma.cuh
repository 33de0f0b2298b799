// Hopper's bulk tensor copies (TMA), the barriers in shared memory that they complete on, and
// clusters of blocks. Thin wrappers of PTX instructions; names and meaning follow the PTX ISA.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::kernels::cuda {

/// Address in shared memory; what the functions below take. Opaque, so that the compiler does not
/// compute it anew wherever it is used.
__device__ inline uint32_t shared_address(const void* pointer) {
  uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
  asm volatile("" : "+r"(address));
  return address;
}

__device__ inline float load_shared(uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
  return value;
}
__device__ inline float2 load_shared_pair(uint32_t address) {
  float2 value;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "r"(address));
  return value;
}

__device__ inline float4 load_shared_four(uint32_t address) {
  float4 value;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(address));
  return value;
}
__device__ inline uint32_t load_shared_word(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(address));
  return value;
}
__device__ inline uint4 load_shared_words(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address));
  return value;
}
__device__ inline void store_shared_word(uint32_t address, uint32_t value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

/// A phase of the barrier completes when `arrivals` threads have arrived and every byte that was
/// announced has landed.
__device__ inline void init_barrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

/// Makes initialised barriers known to the copy engine and to the other blocks of the cluster.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async;" ::: "memory");
}

/// Arrives, and announces `bytes` that copies will bring in this phase.
__device__ inline void arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

__device__ inline void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives at the barrier that stands at the same place in block `rank` of the cluster. Orders what
/// was read before, not what was written: with the scope of a cluster it would wait for memory.
__device__ inline void arrive_at(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

/// Waits for the end of the phase of this parity: the first phase of a barrier has parity 0.
__device__ inline void wait_barrier(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// The `threads` threads that come to barrier `id` of the block meet.
__device__ inline void meet_threads(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// A place in a ring of stages: the parity turns each time round.
struct RingPlace {
  uint32_t stage = 0;
  uint32_t parity = 0;
  __device__ void advance(uint32_t stages) {
    const bool last = stage == stages - 1;
    stage = last ? 0 : stage + 1;
    parity ^= last ? 1 : 0;
  }
};

/// Copies the box of `map` at column `x`, row `y` to `target`; its bytes count on `barrier`.
__device__ inline void copy_box(uint32_t target, const CUtensorMap* map, uint32_t barrier, int x,
                                int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}

/// copy_box to the same place of every block in `blocks` (a bit a rank), on each one's barrier.
__device__ inline void copy_box_to(uint32_t target, const CUtensorMap* map, uint32_t barrier, int x,
                                   int y, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(blocks)
      : "memory");
}

/// Copies `bytes` neighbouring bytes; addresses and count are multiples of 16.
__device__ inline void copy_bytes(uint32_t target, const void* source, uint32_t bytes,
                                  uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(target),
      "l"(source), "r"(bytes), "r"(barrier)
      : "memory");
}

/// Copies 16 bytes to shared memory, by this thread; addresses are multiples of 16. They belong to its next group.
__device__ inline void copy_sixteen(uint32_t target, const void* source) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(source) : "memory");
}
/// Ends the group, and waits until all groups of this thread have come.
__device__ inline void commit_sixteens() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ inline void wait_sixteens() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

/// Two neighbouring 64-bit numbers; the address is a multiple of 16.
__device__ inline void store_shared_pair(uint32_t address, unsigned long long first,
                                         unsigned long long second) {
  asm volatile("st.shared.v2.b64 [%0], {%1, %2};" ::"r"(address), "l"(first), "l"(second) : "memory");
}
/// What this thread has written to shared memory is there for the copy engine.
__device__ inline void publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Copies `bytes` neighbouring bytes to global memory, or adds them there as 64-bit integers; addresses
/// and count are multiples of 16. They belong to the thread's next group of copies.
__device__ inline void copy_to_memory(void* target, uint32_t source, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target), "r"(source),
               "r"(bytes)
               : "memory");
}
__device__ inline void add_to_memory(void* target, uint32_t source, uint32_t bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u64 [%0], [%1], %2;" ::"l"(target),
               "r"(source), "r"(bytes)
               : "memory");
}
/// Ends a group of this thread's copies.
__device__ inline void commit_copies() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until all but the last `kGroups` have read shared memory.
template <int kGroups>
__device__ inline void wait_copied_from() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kGroups) : "memory");
}
/// Waits until all of this thread's copies are in memory.
__device__ inline void wait_copied() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

__device__ inline void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ inline uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// All threads of all blocks of the cluster meet; what each wrote before, all see after.
__device__ inline void meet_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
}

/// Sends a number to the same place of block `rank` of the cluster; its bytes count on the barrier there.
__device__ inline void send_to(uint32_t address, float value, uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there, its_barrier;\n"
      "mapa.shared::cluster.u32 there, %0, %3;\n"
      "mapa.shared::cluster.u32 its_barrier, %2, %3;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [there], %1, [its_barrier];\n"
      "}" ::"r"(address),
      "r"(__float_as_uint(value)), "r"(barrier), "r"(rank)
      : "memory");
}

/// Reads four floats of shared memory of block `rank` of the cluster.
__device__ inline float4 load_of_block(const float4* pointer, uint32_t rank) {
  float4 value;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n"
      "}"
      : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
      : "r"(shared_address(pointer)), "r"(rank));
  return value;
}

/// Gives registers of this warpgroup back, or takes what others gave.
template <int kRegisters>
__device__ inline void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace troupe::kernels::cuda
