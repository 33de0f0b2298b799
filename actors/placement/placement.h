// Which process an actor and a state block live in: pure functions of the plan. Nothing here changes
// a bit of the result (laws 1 and 2).
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "actors/messages/role.h"
#include "config/plan/planner.h"
#include "kernels/layers/params.h"
#include "runtime/state/arena.h"

namespace troupe::actors {

/// What one optimizer shard sends another of a step: the gradients of these blocks, summed over its
/// process, in messages of Company::blocks_at_once; or, the other way, their new weights in one.
struct BlockEdge {
  int user;   ///< shard of a process that computes with the blocks
  int owner;  ///< shard that holds their state
  std::vector<int64_t> blocks;  ///< ascending
};

/// What a process that takes a lost one's place gets from one that lives, in one message.
struct RestoreEdge {
  int from;  ///< optimizer shard
  int to;    ///< likewise, of that process
  std::vector<int64_t> whole;    ///< ascending: weights, moments, EMA
  std::vector<int64_t> weights;  ///< ascending: these alone
};

/// What a process has of a block, of the state that the run stands at.
enum class Share : uint8_t { none, weights, whole };

/// Deals `count` blocks to so many, evenly: [count] numbers from 0. With one more each of those that were
/// there keeps what it has, but for an equal part that the new one gets, so that few blocks move when processes
/// come or go.
std::vector<int> deal_blocks(int64_t count, int hands);

/// Whether, with redundancy 1, a block's owner and its buddy, which is `stride` processes further on, are both
/// among these of `processes`: then no copy of it is left.
bool have_lost_all_copies(const std::set<int>& empty, int processes, int stride = 1);

class Placement {
 public:
  /// `specs` and `blocks` as the arena has them.
  Placement(const config::Plan& plan, const kernels::ModelShape& shape,
            const runtime::StateArena& arena);

  int processes() const { return processes_; }
  int process_of(const Address& address) const;
  int process_of_shard(int optimizer_shard) const { return optimizer_shard % processes_; }

  /// Processes that compute with a tensor, ascending: those of its stage's workers, or those that
  /// have its expert. Embedding and head are also used where MTP modules are.
  const std::vector<int>& users(int tensor) const { return users_[static_cast<size_t>(tensor)]; }
  bool uses(int process, int tensor) const;
  /// Whether it also has a copy of some of its blocks.
  bool holds(int process, int tensor) const;
  /// What a process needs of a block, and has when a step has been applied: all of it as its owner or the
  /// owner's buddy, its weights to compute with.
  Share share(int process, int64_t block) const;
  /// What it writes of a block where it computes on the host.
  runtime::BlockUse use(int process, int64_t block) const;

  /// The optimizer shard of a block: in a process that uses it, dealt evenly (ZeRO-1).
  int owner(int64_t block) const { return owners_[static_cast<size_t>(block)]; }
  std::vector<int64_t> owned_by(int optimizer_shard) const;

  /// The optimizer shard, of another process, that holds a second copy of what a shard owns and applies
  /// the same commits; -1: none does.
  int buddy(int optimizer_shard) const {
    return redundancy_ == 0 ? -1 : counterpart(optimizer_shard, (process_of_shard(optimizer_shard) + stride_) % processes_);
  }
  /// Whose blocks a shard holds copies of; -1: nobody's.
  int ward(int optimizer_shard) const {
    return redundancy_ == 0 ? -1 : counterpart(optimizer_shard, (process_of_shard(optimizer_shard) + processes_ - stride_) % processes_);
  }
  /// Whether nobody has a block any more when these processes have nothing.
  bool have_lost_all_copies(const std::set<int>& empty) const {
    return redundancy_ == 0 ? !empty.empty() : actors::have_lost_all_copies(empty, processes_, stride_);
  }
  /// What a process needs of the others to be where it was.
  std::vector<RestoreEdge> edges_to_restore(int process) const;

  /// One edge for each pair of shards that share blocks in different processes.
  const std::vector<BlockEdge>& edges() const { return edges_; }
  /// One edge for each shard that owns what process 0 does not: for whole states of the run.
  std::vector<BlockEdge> edges_to_first() const;

 private:
  void deal(const runtime::StateArena& arena);
  int stage_of(int64_t layer) const;
  std::vector<int> processes_of_stage(int stage) const;
  std::vector<int> users_of(const std::string& name) const;
  /// The shard of a process that speaks with `owner`: the one of the same number there.
  int counterpart(int owner, int process) const { return owner / processes_ * processes_ + process; }

  const config::Plan& plan_;
  const kernels::ModelShape& shape_;
  const int processes_;
  const int redundancy_;
  const int stride_;  // from a process to its buddy
  std::vector<std::vector<int>> users_;  // by tensor
  std::vector<int> owners_;              // by block
  std::vector<int> tensors_;             // likewise
  std::vector<BlockEdge> edges_;
};

/// Says to the arena what a process is going to write of it, before it does. A GPU's process writes little there.
void expect_part(const config::Plan& plan, const kernels::ModelShape& shape, int process,
                 kernels::Device device, runtime::StateArena& arena);

}  // namespace troupe::actors
