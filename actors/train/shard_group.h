// What the optimizer shards of one number, one in each process, do together instead of telling each other: they sum
// gradients into who owns a block, hand out its weights, and give buddies what they have reduced
// (runtime/data_plane/device_group.h). Which of them share what is a function of the placement.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "actors/company.h"
#include "actors/train/shard_memory.h"

namespace troupe::actors {

/// Blocks that the same processes share.
struct CircleBlocks {
  int circle;  ///< index into GroupShares::circles
  std::vector<std::pair<int, std::vector<int64_t>>> by_root;  ///< owner's process, and its blocks
};

/// Processes are ranks.
struct GroupShares {
  std::vector<std::vector<int>> circles;  ///< of all processes: the same list in each
  std::vector<CircleBlocks> sums;         ///< of this process, in the order of circles: gradients
  std::vector<CircleBlocks> weights;      ///< likewise; buddies make theirs themselves
};
GroupShares shares_of_group(const Placement& placement, const std::vector<runtime::Block>& blocks, int shard);

class ShardGroup {
 public:
  /// Goes on in the shard, with what went wrong or nothing.
  using Done = runtime::DeviceGroup::Done;

  /// Of shard `index`, whose lane `memory` works in.
  ShardGroup(Company& company, ShardMemory& memory, kernels::Queue& queue, int index);

  /// A step begins: in the group that it names, or in none. What is under way in another ends before anything that
  /// is enqueued from here on. False if the step goes on in a group that this life has never been in.
  bool begin(const wire::BeginStep& step);
  /// Nothing is done together from here on, until another step begins.
  void leave();
  bool is_joined() const { return group_ != nullptr; }

  /// Parts of an operation, by circle of this process.
  using Parts = std::vector<std::vector<runtime::GroupPart>>;

  /// This process's sums, which are ready when what is enqueued has ended.
  Parts sums();
  /// Then: who owns a block gets the sum of its users' gradients.
  void sum(const Parts& sums, Done done);
  /// The buddy gets `own`, and the ward's come into `come`.
  void give_copies(int buddy, const kernels::Tensor& own, int ward, const kernels::Tensor& come, Done done);
  /// Users of blocks get weights of `state`, which their owners have made when what is enqueued has ended.
  struct Weights {
    Parts parts;
    std::vector<int64_t> come;  // blocks of others
  };
  Weights weights(uint64_t state);
  void hand_out(const Weights& weights, Done done);

 private:
  std::chrono::milliseconds deadline() const { return company_.deadlines.part(); }
  int process_of(int shard) const { return company_.placement.process_of_shard(shard); }
  /// The answer to the last of them is that to all: whatever fails ends the group.
  static Done answer_of(const Done& done, size_t number, size_t count) {
    return number + 1 == count ? done : Done();
  }
  bool is_left(const Done& done) const;
  void sends(const kernels::Tensor& tensor, size_t times) const;

  Company& company_;
  ShardMemory& memory_;
  kernels::Queue& queue_;
  const int number_;  // of the shard in its process
  const GroupShares shares_;
  std::string id_;
  std::shared_ptr<runtime::DeviceGroup> group_;
};

}  // namespace troupe::actors
