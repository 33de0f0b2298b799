// What the actors of one process share: the plan, the arena, the threads that compute, and where
// to find each other.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "actors/interfaces.h"
#include "actors/model/tensors.h"
#include "config/plan/planner.h"
#include "kernels/queue.h"

namespace troupe::actors {

enum class Role : uint8_t {
  coordinator, journal, checkpointer, trainer, evaluator, stage, attention_shard, router, expert_shard, optimizer_shard
};
const char* to_string(Role role);

/// Names an actor. `worker` is the data worker, `index` a shard, or a router's layer.
struct Address {
  Role role;
  int stage = 0;
  int worker = 0;
  int index = 0;
  auto operator<=>(const Address&) const = default;
};
std::string to_string(const Address& address);

/// Actors by name. Whoever wants to tell another something looks it up when it does, so one that
/// has been restarted is found again.
class Directory {
 public:
  void put(const Address& address, caf::actor actor);
  /// An invalid handle if nobody stands there.
  caf::actor find(const Address& address) const;
  template <class Handle>
  Handle find_as(const Address& address) const {
    return caf::actor_cast<Handle>(find(address));
  }
  std::vector<std::pair<Address, caf::actor>> all() const;
  std::vector<caf::actor> of(Role role) const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::map<Address, caf::actor> actors_;
};

/// A step's micro-batches: a pure function of the step.
using BatchSource = std::function<std::vector<MicroBatch>(uint64_t step)>;

class Company {
 public:
  Company(const Recipe& recipe, const config::Plan& plan, runtime::StateArena& arena,
          kernels::ThreadPool& pool, BatchSource batches);

  const Recipe recipe;
  const config::Plan plan;
  runtime::StateArena& arena;
  kernels::ThreadPool& pool;
  const BatchSource batches;
  const ModelTensors tensors;
  const kernels::MlaContext mla;
  Directory directory;

  /// A new queue. It lives as long as the company, so no operation outlives its lane, whatever
  /// becomes of the actor.
  kernels::Queue& new_lane();
  /// Skips what the lanes hold and waits for what runs, so memory of operations may go. For when
  /// the actors have ended: they would enqueue more.
  void drain();

  int stage_of(int64_t layer) const;
  int last_stage() const { return plan.pipeline - 1; }
  /// MoE layers of a stage, MTP's behind the last stage's own.
  std::vector<int64_t> moe_layers(int stage) const;
  int64_t moe_index(int64_t layer) const { return layer - recipe.shape.dense_layers; }
  std::vector<int> expert_owners() const;
  int worker_of(int micro_batch) const;
  /// Rows of a sequence in a layer: MTP modules see fewer.
  int64_t sequence_rows(int64_t layer) const;

 private:
  const kernels::RopeTable rope_;
  std::mutex mutex_;
  std::deque<kernels::Queue> lanes_;
};

}  // namespace troupe::actors
