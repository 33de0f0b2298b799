// From a plan to living actors. Start reading at launch.cpp, then staff.cpp.
#pragma once

#include <functional>
#include <memory>

#include "actors/staff.h"
#include "runtime/cluster/join/tls.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::actors {

/// Registers message types. Once a process, before any company; more calls do nothing.
void register_message_types();

/// CAF's own threads never compute, they only carry messages: a shared queue that wakes a thread at
/// once, unless they are to look long, and turns between actors after so many messages.
struct SystemConfig : caf::actor_system_config {
  SystemConfig();
  /// One that reaches others with the same token, and is reached by them (actors/messages/front_desk.h); by TLS
  /// if `tls` is set, which has been checked.
  explicit SystemConfig(const std::string& token, const runtime::TlsFiles& tls = {});

  /// Of a company whose GPU waits for its messages: threads, with a queue each, look for the next one
  /// some ten milliseconds before they sleep, where each process has the cores for it.
  void look_long(const Company& company);
};

/// What a run tells whoever watches it. Called on the watching thread; each may be empty.
struct RunEvents {
  std::function<void(const wire::StepDone&)> step_done;
  std::function<void(const wire::Evaluation&)> evaluated;
  std::function<void(const std::string&)> alarm;  ///< the disk refuses; training goes on or waits
  std::function<void(const wire::Event&)> happened = {};  ///< failures, and what was made of them
};

/// Where a run is kept. Without it nothing outlives the process.
struct RunStorage {
  std::unique_ptr<runtime::JournalWriter> journal;
  CheckpointOptions checkpoints;
  std::unique_ptr<runtime::EventLog> events;  ///< null: none
  CommitPlace commits = {};  ///< where the journal is a copy; it outlives the troupe
};

/// The actors of one process of several, but for the first, whose Troupe leads them.
class Outpost {
 public:
  struct Args {
    std::shared_ptr<Company> company;
    caf::actor_system* actors;
    /// Whom the first process is to ask; again when it has been started again. On any thread.
    std::function<void(const caf::actor&)> crew_started;
    std::function<void(const wire::Event&)> happened = {};  ///< on any thread
    std::function<void(const std::string&)> gave_up = {};   ///< its supervisors did; on any thread
  };
  explicit Outpost(Args args);  ///< its crew has been started
  ~Outpost();

 private:
  struct Top;
  std::shared_ptr<Company> company_;
  std::unique_ptr<Top> top_;
};

/// Plays a run. Its actors are in this process, or led from here.
class Troupe {
 public:
  struct Args {
    std::shared_ptr<Company> company;
    CoordinatorOptions options;
    RoutingBias bias;  ///< of the state in the arena
    ResumePoint from;
    std::unique_ptr<RunStorage> storage;  ///< null: none
    EvaluatorActor::Documents documents;  ///< held-out text; null or empty: nothing is evaluated
    /// Other processes have crews in the directory and lack the state that is in this arena.
    bool hands_out_state = false;
    caf::actor_system* actors = nullptr;  ///< that the actors live in; null: one of their own
  };
  explicit Troupe(Args args);
  ~Troupe();

  /// Trains to the last step. Throws RunError when the run cannot go on.
  void run(const RunEvents& events);

  /// From any thread: the run ends now, with `why` as its error.
  void give_up(const std::string& why);

  /// From any thread: the run ends after the step under way (the next one, if that is committed
  /// already), which is hashed and checkpointed as the last one would be, but not evaluated.
  void request_stop();
  /// Likewise, for the run to go on at once with other processes: nothing is saved or scored for that.
  void request_pause();

 private:
  struct System;
  void hand_out_state();

  std::shared_ptr<Company> company_;
  std::unique_ptr<System> system_;
};

class RunError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace troupe::actors
