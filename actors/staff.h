// The supervision tree of a company: who is started under whom, with what, and again after a
// failure. Supervisors' rules stand in runtime/supervision.
//
// In every process those that live there; keepers, trainer, evaluator and coordinator in process 0.
//
//   troupe ── keepers ── journal, checkpointer
//          ── model ──── optimizer, expert and attention shards, routers, stages
//          ── control ── crew, trainer, evaluator, coordinator
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "actors/control/checkpointer.h"
#include "actors/control/coordinator.h"
#include "actors/train/evaluator.h"
#include "runtime/supervision/supervisor_actor.h"

namespace troupe::actors {

/// Every supervisor of actors allows so many restarts before it gives up, and the run with it.
constexpr int restart_intensity = 100;
constexpr std::chrono::seconds restart_period{10};

/// Starts actors for their supervisors, tells the coordinator of restarts, and witnesses both. Must
/// outlive the actor system's supervisors. Thread-safe.
class Staff {
 public:
  struct Args {
    std::shared_ptr<Company> company;
    caf::actor_system* system;
    /// Told of the crew, and of each that is started in its place; on any thread.
    std::function<void(const caf::actor&)> crew_started = {};
    /// Told once, when the last actor of the tree has been started for the first time.
    std::function<void()> all_started = {};
    // Of process 0 alone:
    CoordinatorActor::Setup coordinator = {};
    std::shared_ptr<Keepers> keepers = nullptr;
    bool has_checkpoints = false;
    EvaluatorActor::Documents documents = nullptr;  ///< null: no evaluator
    int intensity = restart_intensity;    ///< of the supervisors of actors
  };
  explicit Staff(Args args);

  /// Starts the whole tree; the handle is its top.
  caf::actor start();
  /// The coordinator begins, and so does every one that is started in its place.
  void run();
  /// Why the top gave up; empty: it did not.
  std::string failure() const;

 private:
  caf::actor start_child(const std::string& supervisor, const runtime::effect::Start& start);
  caf::actor start_supervisor(const std::string& id, const std::string& parent);
  caf::actor start_actor(const Address& address, const std::string& parent);
  caf::actor spawn(const Address& address, runtime::Cell* cell);
  void heard(const std::string& supervisor, const runtime::effect::Log& what);
  void witness(wire::Event::Kind kind, const std::string& id, std::string text);
  std::vector<runtime::ChildSpec> children_of(const std::string& supervisor) const;

  const Args args_;
  std::map<std::string, Address> addresses_;  // by id
  std::vector<std::string> order_;            // ids, as they are started
  std::atomic<bool> is_running_{false};
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> lives_;
  std::map<std::string, std::string> last_end_;  // why each ended last
  std::string failure_;
};

}  // namespace troupe::actors
