#pragma once

#include <chrono>
#include <map>
#include <optional>

#include "actors/company.h"
#include "actors/control/commit.h"

namespace troupe::actors {

/// When the coordinator does more than train.
struct CoordinatorOptions {
  int64_t hash_every;  ///< steps between hashes; 0: the last step alone
  int64_t eval_every;  ///< steps between evaluations; 0: after the last step alone
  int64_t checkpoint_every;  ///< steps between checkpoints; 0: after the last step alone
  int64_t last_step = 0;     ///< the run ends after it; 0: after the recipe's last
};

/// Where a run goes on from.
struct ResumePoint {
  uint64_t term = 1;                      ///< of the journal: epochs of older terms are over
  wire::StepRecord record;                ///< of the state in the arena; step 0: the initial one
  std::vector<wire::StepRecord> commits;  ///< the journal's: steps behind the state are replayed
  std::map<uint64_t, uint64_t> hashes;    ///< journaled hashes that the replay must meet
};

/// The one actor with authority, and tiny: begins a step, collects what it has come to, decides
/// the commit, and lets the optimizer shards apply it. Its state is the last record.
class CoordinatorActor : public Coordinator::base {
 public:
  CoordinatorActor(caf::actor_config& config, std::shared_ptr<Company> company,
                   CoordinatorOptions options, RoutingBias bias, ResumePoint from);
  const char* name() const override { return "coordinator"; }

  behavior_type make_behavior() override;
  void on_exit() override { watcher_ = nullptr; }

 private:
  void begin_step();
  void begin_attempt();
  void collected(const Pb<wire::StepReport>& report);
  void prepare();
  void prepared(const Pb<wire::Prepared>& part);
  void decide();
  void make_durable();
  void commit();
  void journal_hash(uint64_t hash);
  void checkpoint();
  bool is_replay() const { return record_.step() <= commits_.size(); }
  void applied(const Pb<wire::Applied>& part);
  void step_done();
  void after_step();
  void evaluate();
  void failed(const caf::error& error);

  uint64_t last_step() const {
    const int64_t step = options_.last_step > 0 ? options_.last_step : company_->recipe.steps;
    return static_cast<uint64_t>(step);
  }
  bool is_last() const { return record_.step() == last_step(); }
  bool is_due(int64_t every) const;
  Pb<wire::BeginStep> begin_message() const;

  template <class Result, class... Ts>
  void ask_shards(void (CoordinatorActor::*answered)(const Pb<Result>&), const Ts&... values);

  const std::shared_ptr<Company> company_;
  const CoordinatorOptions options_;
  const std::vector<wire::StepRecord> commits_;  // of earlier terms
  const std::map<uint64_t, uint64_t> journaled_hashes_;
  bool is_stopping_ = false;  // told to end the run early
  bool is_final_ = false;     // no step follows this one; fixed at its commit
  bool is_saving_ = false;
  bool waits_for_save_ = false;  // at the end of the run
  caf::actor watcher_;
  RoutingBias bias_;
  wire::StepRecord record_;  // of the last commit; step 0 at the start
  Attempt attempt_;
  uint32_t attempts_ = 0;
  StepSums sums_;
  std::vector<uint64_t> hashes_;  // by block
  size_t missing_ = 0;
  std::chrono::steady_clock::time_point begun_;
};

}  // namespace troupe::actors
