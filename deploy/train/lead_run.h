// The process that leads a run, or is all of it.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/launch.h"
#include "deploy/cluster/lead/leader.h"
#include "deploy/cluster/lead/leader_supervisor.h"
#include "deploy/console.h"
#include "deploy/train/prepared_run.h"
#include "deploy/train/resume.h"

namespace troupe::deploy {

/// Trains to the end of the run, with others if there are: under one plan after the other when processes come
/// and go. This process keeps its part of the state meanwhile.
class RunLead {
 public:
  RunLead(PreparedRun& prepared, const LeaderLife& life);

  /// Throws why the run does not go on here (BeginAgain, Fenced), StoppedBySignal, and what is wrong with it.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  /// The run under one plan.
  struct Part {
    Mandate mandate;
    Gathered gathered;
    StartingPoint start;
    actors::Moves moves;
    bool is_first_state = false;
    bool is_moving = false;        ///< blocks go where they belong first
    bool hands_out_state = false;  ///< or nodes make the first one themselves
  };

  bool take_part(Part& part);
  void take_next_part(Part& part, runtime::JournalHistory& history);
  void gather_others(Part& part, const runtime::JournalHistory& history, HeldParts& parts);
  void check_moves(const Part& part) const;
  bool play(Part& part);
  bool train(Part& part, const std::shared_ptr<actors::Company>& company, Leader* leader,
             std::unique_ptr<actors::RunStorage> storage);
  [[noreturn]] void stopped_while_waiting(Leader& leader);
  void holds_its_part();
  void tell_beginning(const Part& part, actors::Company& company);
  void tell_change(const Part& part, actors::Company& company);
  void step_done(const wire::StepDone& done, Leader* leader);
  std::unique_ptr<actors::RunStorage> storage_of(Part& part) const;
  std::unique_ptr<runtime::JournalWriter> open_journal(const Part& part) const;
  std::shared_ptr<actors::Company> company_of(kernels::ThreadPool& pool,
                                              const std::vector<std::string>& fired);
  void open_console();
  double peak_flops();
  bool has_steps_left() const {
    return last_ && last_->record().step() < static_cast<uint64_t>(recipe_.steps);
  }

  PreparedRun& prepared_;
  const RunSetup& setup_;
  RunFolder& folder_;
  const LeaderLife* life_;  // of the plan under way
  LeaderLife next_life_;
  const actors::Recipe recipe_;
  const actors::Timeline timeline_;
  runtime::StateArena arena_;
  std::optional<StopSignals> signals_;
  NodeProcessesPtr children_;
  std::unique_ptr<runtime::Leadership> leadership_;
  std::optional<Console> console_;
  std::map<int, double> peak_flops_;  // by threads
  std::optional<wire::StepDone> last_;
  Clock::time_point last_done_;
  // By the last plan for which all had their blocks, and by those of changes that failed behind it.
  std::vector<wire::HeldPart> held_;
  std::chrono::milliseconds usual_step_{0};  ///< of the last part, as this process has measured it
  std::string told_where_;  // it computes
  std::optional<Leader::Change> change_;  // that is to be made
};

}  // namespace troupe::deploy
