// Bulk copies from memory through shared memory to memory, of this GPU or another, by one warp: a ring of stages,
// each row on its way in one of them. A multiprocessor writes 32 bytes a cycle, and a few of them fill NVLink.
#pragma once

#include "kernels/cuda/sm90/tma.cuh"

namespace troupe::kernels::cuda {

__device__ inline void store_bytes(void* target, uint32_t source, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target), "r"(source), "r"(bytes)
               : "memory");
}

/// Rows of `bytes` each, a multiple of 16. Its methods are called by all lanes of the warp alike; lane 0 copies.
class BulkCopies {
 public:
  static constexpr int most_stages = 8;

  /// `barriers`: most_stages of this warp alone. Stages in shared memory, at least 2 of `bytes`, 16-byte aligned.
  __device__ BulkCopies(uint64_t* barriers, uint32_t memory, uint32_t bytes, uint32_t stages)
      : barriers_(shared_address(barriers)), memory_(memory), bytes_(bytes), stages_(stages),
        is_first_(threadIdx.x % 32 == 0) {
    if (is_first_) {
      for (uint32_t i = 0; i < stages; ++i) init_barrier(barriers_ + 8 * i, 1);
      publish_barriers();
    }
    __syncwarp();
  }

  /// Copies rows 0 to count - 1: `from(i)` and `to(i)` say where they are.
  template <class From, class To>
  __device__ void run(int count, From from, To to) {
    if (is_first_) asm volatile("fence.proxy.async;" ::: "memory");  // what others have written, to the copy engine too
    const int ahead = static_cast<int>(stages_);
    for (int i = 0; i < count && i < ahead; ++i) load(from(i));
    for (int i = 0; i < count; ++i) {
      void* const target = to(i);
      if (is_first_) {
        wait_barrier(barriers_ + 8 * stores_.stage, stores_.parity);
        store_bytes(target, memory_ + stores_.stage * bytes_, bytes_);
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
        asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
      }
      stores_.advance(stages_);
      const int next = i - 1 + ahead;
      if (i >= 1 && next < count) load(from(next));
    }
  }

  /// Waits until all that was copied is there for who is told so by this warp.
  __device__ void finish() const {
    if (!is_first_) return;
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
  }

 private:
  __device__ void load(const void* from) {
    if (is_first_) {
      const uint32_t barrier = barriers_ + 8 * loads_.stage;
      arrive_expecting(barrier, bytes_);
      copy_bytes(memory_ + loads_.stage * bytes_, from, bytes_, barrier);
    }
    loads_.advance(stages_);
  }

  const uint32_t barriers_, memory_, bytes_, stages_;
  const bool is_first_;
  RingPlace loads_, stores_;
};

}  // namespace troupe::kernels::cuda
