// What the actors of one process share: the plan, the arena, the threads that compute, and where
// to find each other.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "actors/control/failpoints.h"
#include "actors/messages/deadlines.h"
#include "actors/messages/directory.h"
#include "actors/messages/post_office.h"
#include "actors/model/expert_holders.h"
#include "actors/model/tensors.h"
#include "actors/placement/placement.h"
#include "actors/train/phase_contexts.h"
#include "config/plan/planner.h"
#include "kernels/queue.h"
#include "runtime/data_plane/device_group.h"
#include "runtime/proto/events.pb.h"
#include "runtime/telemetry/cells.h"
#include "runtime/telemetry/trace/trace_recorder.h"

namespace troupe::actors {

/// A step's micro-batches: a pure function of the step.
using BatchSource = std::function<std::vector<MicroBatch>(uint64_t step)>;

/// Every actor of a plan, in the order they are started; without the evaluator and who keeps the
/// run.
std::vector<Address> cast_of(const config::Plan& plan, const kernels::ModelShape& shape);

class Company {
 public:
  Company(const Recipe& recipe, const config::Plan& plan, runtime::StateArena& arena,
          kernels::ThreadPool& pool, BatchSource batches, int process = 0,
          kernels::Device device = kernels::Device::cpu);

  const Recipe recipe;
  const config::Plan plan;
  const int process;  ///< this one, of `plan.processes`
  const kernels::Device device;  ///< where stages, shards, routers and experts compute
  runtime::StateArena& arena;
  kernels::ThreadPool& pool;
  const BatchSource batches;
  const Placement placement;
  const ModelTensors tensors;
  const Timeline timeline;
  Directory directory;
  PostOffice office;
  Deadlines deadlines;
  Failpoints failpoints;
  /// Whether states are held against the hashes that were taken when they were made, before a step
  /// that has read them is committed. Before any actor.
  bool verifies_state = false;
  std::unique_ptr<runtime::Glass> glass;  ///< null: nobody looks
  std::unique_ptr<runtime::UnitRecorder> units;  ///< hashes of every unit; null: none are taken
  std::unique_ptr<runtime::TraceRecorder> trace;  ///< of operations of some steps; null: nobody wants them
  /// Writes what is recorded and committed; one that the disk refuses is an alarm. Thread-safe.
  void write_trace();
  /// From the next step on every unit is hashed. Before any actor is started.
  void record_units();
  /// Hears what has happened, on any thread, one event after the other; may be empty. Threads that watch
  /// processes are there before it is set and after it is taken away: behind that it is not called, and
  /// nothing that it refers to is used, any more.
  class Witness {
   public:
    using Hears = std::function<void(wire::Event)>;
    void set(Hears hears) {
      std::lock_guard lock(mutex_);
      hears_ = std::move(hears);
    }
    void tell(wire::Event event) const {
      std::lock_guard lock(mutex_);
      if (hears_) hears_(std::move(event));
    }

   private:
    mutable std::mutex mutex_;
    Hears hears_;
  };
  Witness witness;
  /// What optimizer shards of all processes sum and hand out together with; empty: they tell each other. Before any
  /// actor, and the same in all processes.
  struct Groups {
    runtime::GroupMaker make;
    std::function<std::string()> new_id;
  };
  Groups groups;
  bool has_groups() const { return groups.make && has_others(); }
  std::atomic<uint64_t> group_bytes{0};  ///< that have left this process so
  /// How many of a step's micro-batches each data worker is to take; empty: as the plan deals. Of process
  /// 0, asked once an epoch. Before any actor.
  std::function<std::vector<int>(int64_t micro_batches)> shares;

  /// Processes that have taken a lost one's place and have nothing yet. Of process 0; thread-safe.
  class Newcomers {
   public:
    void add(int process) {
      std::lock_guard lock(mutex_);
      processes_.insert(process);
    }
    void remove(const std::set<int>& processes) {
      std::lock_guard lock(mutex_);
      for (const int process : processes) processes_.erase(process);
    }
    std::set<int> get() const {
      std::lock_guard lock(mutex_);
      return processes_;
    }

   private:
    mutable std::mutex mutex_;
    std::set<int> processes_;
  };
  Newcomers newcomers;
  /// Whether this process has its part of the state. Not while it has yet to be handed to it, or restored
  /// in a lost one's place: then it begins no step, and is no holder of copies.
  std::atomic<bool> has_state{true};

  /// The last step that this process has prepared: its reduced gradients are here until it is applied. Thread-safe.
  class PreparedStep {
   public:
    void set(const wire::Epoch& epoch, uint64_t step) {
      std::lock_guard lock(mutex_);
      epoch_ = epoch;
      step_ = step;
    }
    std::pair<wire::Epoch, uint64_t> get() const {
      std::lock_guard lock(mutex_);
      return {epoch_, step_};
    }

   private:
    mutable std::mutex mutex_;
    wire::Epoch epoch_;
    uint64_t step_ = 0;
  };
  PreparedStep prepared;

  /// Of how many blocks sums go in one message, 128 MiB: so that the first are added while others are on their way.
  size_t blocks_at_once = 256;

  std::atomic<uint64_t> epochs{0};           ///< n of the newest epoch of the run's term
  std::atomic<bool> is_stop_requested{false}, is_pause_requested{false};

  /// Whether optimizer shards compute on the host, also where the model's actors do so on the GPU. From when the
  /// plane is set.
  bool keeps_state_on_host() const;

  /// The queue of an address, made at the first call. It lives until the company is drained, so no
  /// operation outlives its lane, whatever becomes of the actor; who is started in its place goes on
  /// in the same lane, behind what is there.
  kernels::Queue& lane(const Address& address);
  /// Counts actors of a role, from 0; what failpoints call INDEX.
  int index_of(const Address& address) const;
  void happened(wire::Event event) const { witness.tell(std::move(event)); }
  /// Skips what the lanes hold, waits for what runs, and takes the lanes away, so that arena, pool and
  /// memory of operations may go; the company itself may be held for longer, by a message that has
  /// not been sent yet. For when the actors have ended: they would enqueue more.
  void drain();

  int stage_of(int64_t layer) const;
  int last_stage() const { return plan.pipeline - 1; }
  /// MoE layers of a stage, MTP's behind the last stage's own.
  std::vector<int64_t> moe_layers(int stage) const;
  int64_t moe_index(int64_t layer) const { return layer - recipe.shape.dense_layers; }
  bool is_first() const { return process == 0; }
  bool has_others() const { return placement.processes() > 1; }
  /// Who holds the experts of a stage's MoE layers in a replica, as seen from this process.
  ExpertHolders expert_holders(int stage, int replica) const;
  /// Micro-batches of a step, ascending, by data worker that takes them: as many as `shares` says, or none
  /// said, as the plan deals.
  std::vector<std::vector<int>> hands(std::span<const int> shares, int64_t micro_batches) const;
  /// Numbers actors of a role by rank and data worker, so that an answer finds its way back.
  uint32_t sender_of(const Address& address) const;
  Address place_of_sender(Role role, uint32_t sender, int index) const;
  /// Rows of a sequence of a step in a layer: MTP modules see fewer.
  int64_t sequence_rows(int64_t layer, const StepNumbers& step) const;
  /// What attention needs besides its weights, in a phase of the run.
  kernels::MlaContext mla(size_t phase) const { return contexts_.of(phase); }

 private:
  const PhaseContexts contexts_;
  const std::map<Address, int> indices_;
  std::mutex mutex_;
  std::map<Address, kernels::Queue> lanes_;
};

}  // namespace troupe::actors
