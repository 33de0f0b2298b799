// What the GPU has of a state: weights that forward and backward read, fixed-point sums that units
// are added to and, where it updates the state itself, moments and EMA too. The arena has the
// host's side of it: each block is newer on one of the two, and goes to the other when it is asked
// for there. So what is done with a state on the host (hashes, checkpoints, blocks that move) knows
// nothing of a GPU.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/layers/gradient.h"
#include "runtime/state/unit_recorder.h"

namespace troupe::runtime {

class StateArena;
struct Block;
struct BlockState;

/// Neighbouring blocks of one tensor.
struct BlockRange {
  int tensor;
  int64_t first_block, blocks;  ///< ids
  int64_t first, count;         ///< elements
};

/// Memory of a tensor is taken when it is first asked for. Thread-safe.
class GpuMirror {
 public:
  /// `arena` outlives it. Throws KernelError if there is no GPU.
  explicit GpuMirror(const StateArena& arena);

  /// The weights of `state`. What the GPU did not make itself is copied by the first call of an
  /// attempt, which waits for it; until the attempt is over nothing may change it on the host.
  kernels::ConstTensor weight(int tensor, uint64_t state, const UnitEpoch& attempt);
  /// The same of matrices of one width, rounded to bf16, one behind the other: what linear layers
  /// read on tensor cores. Within a run's part a tensor is always asked for in the same company.
  std::vector<kernels::ConstTensor> bf16_weights(std::span<const int> tensors, uint64_t state,
                                                 const UnitEpoch& attempt);

  /// Whether units of one tensor are added by several queues at a time; else the order of the calls of
  /// `gradient` is that of the units. While no step is under way: what it has left of sums is forgotten.
  void share_sums(bool are_shared);
  /// Sums and weights of these tensors that have no memory yet lie one behind the other from now on, so that they
  /// travel as few: a GPU's memory is shown to another process by allocations.
  void lay_together(std::span<const int> tensors);
  /// What allocation has a tensor's sums, or its weights of a state; null: none yet.
  const void* allocation_of_sums(int tensor);
  const void* allocation_of_weights(int tensor, uint64_t state);
  /// Where units of the step add the tensor's gradient: 0 until then.
  kernels::GradientSum gradient(int tensor, int scale_bits, int64_t units);
  /// A step, or an epoch of it, begins: blocks of what has been asked for become 0.
  void clear(const Block& block);
  /// The same in a queue. Sums that one queue adds to are left to their first unit, which is
  /// stored.
  void clear(kernels::Queue& queue, const BlockRange& range);
  /// The sums of these blocks when all units have been added; 0 where there was none.
  kernels::Tensor gradient_of(kernels::Queue& queue, const BlockRange& range);
  /// Copies the block's sums to the host.
  void fetch(const Block& block, const kernels::Tensor& to);
  uint32_t faults() const { return faults_->load(); }
  void forget_faults() { *faults_ = 0; }

  /// State N - 1 and memory for state N, for an update here. What the host has newer is copied, and
  /// waited for.
  struct Update {
    std::array<kernels::Tensor, 4> before, after;  ///< weight, moments, EMA: as BlockState::parts
    kernels::Tensor bf16;  ///< the weights' copy, if it is to be written too; else no data
  };
  Update update(const BlockRange& range, uint64_t state);
  /// The update has been launched: the GPU has state N of these blocks.
  void updated(const BlockRange& range, uint64_t state);

  /// Copies all of the state that the GPU has not made or got of these blocks, and waits for it.
  void bring(const BlockRange& range, uint64_t state);
  /// The blocks' weights: to be read where the GPU has them, or to be written with what others have made.
  kernels::Tensor weights(const BlockRange& range, uint64_t state);
  /// The same of all parts, as BlockState::parts; what the state lacks has no elements.
  std::array<kernels::Tensor, 4> parts(const BlockRange& range, uint64_t state);
  /// They have been written: the GPU has what has come of state N, and the host has not seen it.
  void got(const BlockRange& range, uint64_t state);
  /// Nothing is here any more. Not while anybody computes.
  void forget();
  /// Gives back the memory of these tensors' weights, which nobody computes with. Of those of which nothing is made or
  /// received here: what they are stands on the host.
  void forget_weights(std::span<const int> tensors);
  /// The same of their bf16 copies alone, whatever is made here of the weights.
  void forget_bf16(std::span<const int> tensors);

  /// Whether the GPU has made or got a state of the block, or its weights, that the host has not seen.
  bool is_newer(int64_t id, uint64_t state) const;
  /// Copies the block's state to the host.
  void download(int64_t id, const Block& block, uint64_t state, const BlockState& to);
  /// The host has written the block's state.
  void host_wrote(int64_t id, uint64_t state);

 private:
  static constexpr uint64_t nothing = ~uint64_t{0};
  struct Version {
    std::array<kernels::Buffer, 4> parts;  // as BlockState::parts
    UnitEpoch attempt;                     // that the weights were copied for
    uint64_t state = nothing;              // that were copied
  };
  struct Packed {
    kernels::Tensor view;
    std::shared_ptr<void> memory;
    UnitEpoch attempt;
    uint64_t state = nothing;
  };
  struct Mirrored {
    std::mutex mutex;
    std::array<Version, 2> versions;  // state N at N mod 2
    Packed packed;
    kernels::Buffer gradient;
    std::unique_ptr<kernels::FixedPointLocks> locks;
    bool awaits_first = false;  // what stands there is of an earlier step
    int64_t first_block = 0, blocks = 0;
  };

  Mirrored& of(int tensor) { return tensors_[static_cast<size_t>(tensor)]; }
  kernels::Buffer& part_of(int tensor, uint64_t state, size_t part);
  kernels::Tensor elements(int tensor, uint64_t state, size_t part, int64_t first, int64_t count);
  bool has_made_block(int64_t id, uint64_t state) const {
    return made_[state % 2][static_cast<size_t>(id)].load(std::memory_order_acquire) == state;
  }
  bool has_made(int tensor, uint64_t state) const;
  /// Calls `each(first id, elements from, count)` for every run of the range's blocks that were not made here.
  template <class F>
  void for_unmade(const BlockRange& range, uint64_t state, F each) const;
  void locked_bring(const BlockRange& range, uint64_t state);
  bool are_laid_out(std::span<const int> tensors);
  void lay_out(std::span<const int> tensors);
  void make_gradient(int tensor);
  void set_gradient_memory(int tensor, const kernels::Buffer& memory);
  template <class Has, class Give>
  void lay_together(std::span<const int> tensors, kernels::DType dtype, Has has, Give give);
  kernels::ConstTensor locked_weight(int tensor, uint64_t state, const UnitEpoch& attempt);
  void pack(int tensor, uint64_t state, const UnitEpoch& attempt);

  const StateArena& arena_;
  std::vector<Mirrored> tensors_;
  std::atomic<bool> are_shared_{true};  // the sums
  std::mutex layout_;                   // before those of tensors
  std::vector<std::atomic<uint64_t>> made_[2];   // by block: the state that the GPU has of it
  std::vector<std::atomic<uint64_t>> known_[2];  // and that the host has
  kernels::Buffer faults_memory_;
  std::atomic<uint32_t>* faults_;  // in it
};

}  // namespace troupe::runtime
