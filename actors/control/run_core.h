// The coordinator as a machine without actor, thread or clock: what it hears in, what it wants out.
//
// One step: Compute, Prepare, Append, Apply, then Save and Evaluate where due. Whatever breaks, one
// path leads back: ask what the run stands at (the journal's last commit, the blocks' stamps), apply
// that commit again, which is no work where it has been applied, and go on from there; a step that
// was not committed is begun again under a new epoch (laws 3 and 4).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "actors/control/commit.h"
#include "actors/control/run_events.h"

namespace troupe::actors {

/// When the coordinator does more than train. Counted in steps; 0: after the last one alone.
struct CoordinatorOptions {
  int64_t hash_every;
  int64_t eval_every;
  int64_t checkpoint_every;
  int64_t last_step = 0;  ///< the run ends after it; 0: after the recipe's last
};

/// Where a run goes on from.
struct ResumePoint {
  uint64_t term = 1;                      ///< of the journal: epochs of older terms are over
  wire::StepRecord record;                ///< of the state in the arena; step 0: the initial one
  std::vector<wire::StepRecord> commits;  ///< the journal's: steps behind the state are replayed
  std::map<uint64_t, uint64_t> hashes;    ///< journaled hashes that the replay must meet
  /// A commit of a coordinator that is lost, of the step behind `record`: it is applied first.
  std::optional<wire::StepRecord> open_commit = std::nullopt;
};

/// A step is begun again at most so often before the run ends with an error. That a process is missing
/// is no beginning: it is waited for.
constexpr int most_recoveries = 20;

/// So many steps are done at most for a pause to come where no checkpoint is being written.
constexpr int most_steps_to_pause = 20;

class RunCore {
 public:
  struct Args {
    const Recipe* recipe;
    CoordinatorOptions options;
    RoutingBias bias;  ///< of the state that `from` speaks of
    std::shared_ptr<const ResumePoint> from;
    uint64_t epochs = 0;  ///< n of the last epoch of this term that was begun
    size_t crews = 1;     ///< that prepare and apply
    size_t blocks = 0;
    bool has_checkpointer = false;
    bool has_evaluator = false;
    /// Whether a process is gone and nobody has taken its place yet. Unset: there is but one.
    std::function<bool()> lacks_process = {};
    /// Hash of the state after the record's step, from its blocks' hashes.
    std::function<uint64_t(const wire::StepRecord&, std::span<const uint64_t>)> state_hash;
  };
  explicit RunCore(Args args);

  /// What follows, in order.
  std::vector<Wanted> hear(const Heard& heard);

  /// False: it has been given up, and what is left of it must not go on.
  bool is_under_way(Generation generation) const { return generation == generation_; }

 private:
  enum class Phase : uint8_t {
    idle, standing, computing, preparing, appending, applying, copying, evaluating, saving,
    waiting, ended
  };

  void on(const heard::Run&);
  void on(const heard::Standing& standing);
  void on(const heard::Collected& collected);
  void on(const heard::Prepared& prepared);
  void on(const heard::Damaged& damaged);
  void on(const heard::Durable& durable);
  void on(const heard::HashDurable& durable);
  void on(const heard::Applied& applied);
  void on(const heard::Copied& copied);
  void on(const heard::Evaluated& evaluated);
  void on(const heard::Failed& failed);
  void on(const heard::TimePassed& passed);
  void on(const heard::Restarted& restarted);
  void on(const heard::Saved& saved);
  void on(const heard::Stop&);
  void on(const heard::Pause&);

  void ask_standing();
  void next_step();
  void compute();
  void decide();
  void make_durable();
  void apply();
  void applied();
  void checkpoint();
  void evaluate();
  void journal_hashes();
  void end_when_kept();
  void end(runtime::Errc code, std::string text);
  void recover(const std::string& why);
  bool has_to_wait() const;
  void wait();

  bool is_at(Phase phase, Generation generation) const {
    return phase_ == phase && generation_ == generation;
  }
  /// Whether what is under way has lost something with an actor of this role.
  bool concerns(Role role) const;
  bool is_replay() const { return record_.step() <= args_.from->commits.size(); }
  bool is_due(int64_t every) const;
  bool pauses_here();
  uint64_t last_step() const;
  wire::BeginStep begin_message() const;
  bool meets_journal(uint64_t hash);
  bool copies_are_equal();
  void sum(const wire::StepReport& report);

  const Args args_;
  const Timeline timeline_;
  Phase phase_ = Phase::idle;
  Generation generation_ = 0;
  RoutingBias bias_;
  wire::StepRecord record_;  // of the last commit, or of the one that is being made durable
  wire::StepRecord committed_;
  uint64_t settled_;         // the state with which everything has been done
  Attempt attempt_;
  uint32_t attempts_ = 0;
  StepSums sums_;
  std::vector<uint64_t> hashes_;  // by block
  std::map<uint64_t, uint64_t> kept_;  // by block, at its buddy
  std::map<uint64_t, uint64_t> unjournaled_;  // hashes of states that may not be in the journal yet
  size_t missing_ = 0;
  int recoveries_ = 0;        // since a step was committed
  std::string last_failure_;
  bool is_stopping_ = false;  // told to end the run early
  bool is_pausing_ = false;   // told to pause
  int steps_to_pause_ = 0;    // that were done since
  bool is_final_ = false;     // no step follows this one; fixed at its commit
  uint64_t saving_ = 0;      // the last state whose save was asked for, until it has ended; 0: none
  uint64_t last_saved_ = 0;  // of those whose end was heard
  bool was_recovered_ = false;  // what is due may have been asked for already
  std::vector<Wanted> wanted_;
};

}  // namespace troupe::actors
