// From a plan to living actors. Start reading at launch.cpp.
#pragma once

#include <functional>
#include <memory>

#include "actors/company.h"
#include "actors/control/checkpointer.h"
#include "actors/control/coordinator.h"

namespace troupe::actors {

/// Registers message types. Once a process, before any company; more calls do nothing.
void register_message_types();

/// What a run tells whoever watches it. Called on the watching thread.
struct RunEvents {
  std::function<void(const wire::StepDone&)> step_done;
  std::function<void(const wire::Evaluation&)> evaluated;
  std::function<void(const std::string&)> alarm;  ///< the disk refuses; training goes on or waits
};

/// Where a run is kept. Without it nothing outlives the process.
struct RunStorage {
  std::unique_ptr<runtime::JournalWriter> journal;
  CheckpointOptions checkpoints;
};

/// Plays a run with all its actors in this process.
class Troupe {
 public:
  struct Args {
    std::shared_ptr<Company> company;
    CoordinatorOptions options;
    RoutingBias bias;  ///< of the state in the arena
    ResumePoint from;
    std::unique_ptr<RunStorage> storage;  ///< null: none
    /// Makes the evaluator, if the run has held-out text.
    std::function<caf::actor(caf::actor_system&, std::shared_ptr<Company>)> evaluator;
  };
  explicit Troupe(Args args);
  ~Troupe();

  /// Trains to the last step of the recipe. Throws RunError with the first error of any actor.
  void run(const RunEvents& events);

  /// From any thread: the run ends after the step under way (the next one, if that is committed
  /// already), which is hashed and checkpointed as the last one would be, but not evaluated.
  void request_stop();

 private:
  struct System;
  void keep(RunStorage storage);
  std::shared_ptr<Company> company_;
  std::unique_ptr<System> system_;
};

class RunError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace troupe::actors
