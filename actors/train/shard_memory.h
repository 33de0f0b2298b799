// Blocks of the state where an optimizer shard's lane computes: the arena's on the host, or those of its
// mirror on the GPU. Neighbouring blocks of a tensor travel as one tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/queue.h"
#include "runtime/state/arena.h"
#include "runtime/state/gpu_mirror.h"
#include "runtime/wire.h"

namespace troupe::actors {

/// Tensors that go out are the state's own memory (rounded sums: memory of theirs), which outlives every message of its company, and are ready
/// when the lane has passed what was enqueued. Those that come in are one for each range of the blocks or for some
/// neighbouring ones (of whole blocks one for each part; sums come in pieces, wherever these are cut), and are kept by
/// the caller until the lane has passed what is enqueued here. Throws StateError where they do not fit.
class ShardMemory {
 public:
  using Ids = std::span<const int64_t>;
  using Tensors = std::vector<runtime::TensorRef>;

  ShardMemory(runtime::StateArena& arena, kernels::Queue& queue) : arena_(arena), queue_(queue) {}

  /// The sums of a range's gradients, [elements] i64.
  kernels::Tensor gradient(const runtime::BlockRange& range);
  /// Sums of the blocks' gradients, [elements] i64 each: those of neighbouring tensors in one, if they lie so.
  Tensors gradients(Ids blocks);
  /// The same, one for each range of the blocks: alike in every process.
  std::vector<kernels::Tensor> gradients_of_ranges(Ids blocks);
  /// Enqueues that sums of others are added to the blocks'.
  void add_gradients(Ids blocks, const Tensors& sums);
  /// The same sums as an update takes them, [elements] f32 in memory of their own: for who holds copies.
  Tensors rounded_gradients(Ids blocks);
  /// The same in one piece, [elements of all] f32, and memory for such a one.
  kernels::Buffer rounded_in_one(Ids blocks);
  kernels::Buffer room_for_rounded(Ids blocks) const;
  /// Enqueues that they take the place of the blocks' sums.
  void set_rounded_gradients(Ids blocks, const Tensors& rounded);

  /// The blocks' weights, [elements] f32 each, of a state that is made or being made in the lane; joined as sums are.
  Tensors weights(Ids blocks, uint64_t state);
  /// The same, one for each range of the blocks; of blocks that are to come (not `is_made`) memory that waits for them.
  std::vector<kernels::Tensor> weights_of_ranges(Ids blocks, uint64_t state, bool is_made);
  /// Enqueues that the blocks' weights of that state have come there.
  void got_weights(Ids blocks, uint64_t state);
  /// Enqueues that they are the blocks' weights of that state. Blocks that stand at a newer one are left as they
  /// are, and with Taken::missing those that stand at it, of which others read meanwhile.
  enum class Taken : uint8_t { missing, anyway };
  void set_weights(Ids blocks, uint64_t state, const Tensors& weights, Taken taken = Taken::missing);

  /// The same of whole blocks: weights, moments and EMA of a range one behind the other.
  Tensors whole(Ids blocks, uint64_t state);
  void set_whole(Ids blocks, uint64_t state, const Tensors& parts);
  /// How many tensors those of `blocks` are.
  size_t whole_tensors(Ids blocks) const;

  /// Enqueues a copy between tensors on the host, also in a lane on the GPU.
  void copy_on_host(const runtime::TensorRef& from, const kernels::Tensor& to);

 private:
  using Each = std::function<void(const kernels::Tensor& sums, const kernels::Tensor& come)>;
  using Parts = std::vector<kernels::Tensor>;
  Parts parts(const runtime::BlockRange& range, uint64_t state, bool are_whole);
  size_t parts_of_whole() const { return arena_.format().has_ema ? 4 : 3; }
  Tensors ready(Ids blocks, uint64_t state, bool are_whole);
  void bring(Ids blocks, uint64_t state);
  void set_stamps(std::vector<runtime::BlockRange> written, uint64_t state);
  Tensors cut(std::span<const runtime::BlockRange> ranges, const Tensors& come) const;
  void set_parts(Ids blocks, uint64_t state, const Tensors& joined, bool are_whole, Taken taken);
  kernels::Tensor in_reach(const kernels::Tensor& come, std::vector<kernels::Buffer>& copies);
  void expect_to_fit(std::span<const runtime::BlockRange> ranges, const Tensors& come, size_t parts) const;
  void for_pieces(Ids blocks, const Tensors& come, const Each& each);

  runtime::StateArena& arena_;
  kernels::Queue& queue_;
};

}  // namespace troupe::actors
