#pragma once

#include <chrono>

#include "actors/company_actor.h"
#include "actors/control/crew_ends.h"
#include "actors/control/group_term.h"
#include "actors/control/run_core.h"
#include "actors/control/step_use.h"

namespace troupe::actors {

/// The one actor with authority, and tiny: begins a step, collects what it has come to, decides
/// the commit, and lets the optimizer shards apply it. Its state is the journal's last record, so
/// one that is started in another's place goes on. Plays what its core wants (run_core.h).
class CoordinatorActor : public CompanyActor<Coordinator> {
 public:
  struct Setup {
    CoordinatorOptions options;
    RoutingBias bias;
    std::shared_ptr<const ResumePoint> from;
    caf::actor watcher;  ///< is told StepDone, Evaluation, then done or an error
  };
  CoordinatorActor(caf::actor_config& config, std::shared_ptr<Company> company,
                   const Address& address, runtime::Cell* cell, const Setup& setup);

  behavior_type make_behavior() override;
  void on_exit() override {
    watcher_ = nullptr;
    crew_ends_.clear();
  }

 private:
  void happened(Heard heard);
  void compute(const wanted::Compute& wanted);
  void restore(const std::set<int>& newcomers, Generation generation,
               wire::StepRecord record, std::function<void()> next);
  void damaged(int process, Generation generation, const wire::Prepared& part);
  void apply_without(const std::set<int>& newcomers, const wanted::Apply& wanted);
  wire::Event event_of(wire::Event::Kind kind, const wire::Epoch& epoch) const;
  void set_groups(wire::BeginStep& begin);
  void alarm_of_groups(const wire::Epoch& epoch, const std::string& why);
  void play(const wanted::Standing& wanted);
  void play(const wanted::Compute& wanted);
  void play(const wanted::Prepare& wanted);
  void play(const wanted::Append& wanted);
  void play(const wanted::Apply& wanted);
  void play(const wanted::Announce& wanted);
  void play(const wanted::JournalHash& wanted);
  void play(const wanted::Save& wanted);
  void play(const wanted::Evaluate& wanted);
  void play(const wanted::Report& wanted);
  void play(const wanted::Wait& wanted);
  void play(const wanted::Note& wanted);
  void play(const wanted::End& wanted);

  /// What a request without an answer means to the core.
  auto on_failure(Generation generation, std::string whom);
  template <class Part, class... Ts>
  void ask_crews(const char* kind, Generation generation, const Ts&... values);
  /// Calls `next` when process 0 has the whole state of the record.
  void gather(Generation generation, const wire::StepRecord& record, std::function<void()> next);
  uint64_t state_hash(const wire::StepRecord& record, std::span<const uint64_t> hashes) const;

  caf::actor watcher_;
  CrewEnds crew_ends_;
  const std::shared_ptr<const ResumePoint> from_;
  bool begins_again_;  // the step under way, or the next
  RunCore core_;
  uint64_t step_ = 0;  // the one that is timed
  std::chrono::steady_clock::time_point begun_;
  StepUse use_;
  GroupTerm group_term_;
  bool has_alarmed_of_groups_ = false;
  std::vector<std::string> groups_;  // ids, by number of optimizer shard
  std::vector<int> shares_;                             // of the step under way; none: the plan's
};

}  // namespace troupe::actors
