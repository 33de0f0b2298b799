// What the coordinator makes of failures.
#include "actors/control/run_core.h"

namespace troupe::actors {
namespace {

/// Should the word of a restart be lost, it is tried again after this.
constexpr std::chrono::milliseconds restart_patience{100};

}  // namespace

bool RunCore::concerns(Role role) const {
  switch (phase_) {
    case Phase::idle:
    case Phase::ended: return false;
    case Phase::waiting: return true;
    case Phase::standing:
    case Phase::appending: return role == Role::journal;
    case Phase::computing:
      return role != Role::journal && role != Role::checkpointer && role != Role::evaluator;
    case Phase::preparing:
    case Phase::applying: return role == Role::optimizer_shard || role == Role::crew;
    // Crews gather the state that is saved or scored.
    case Phase::copying: return role == Role::checkpointer || role == Role::crew;
    case Phase::saving: return role == Role::checkpointer;
    case Phase::evaluating: return role == Role::evaluator || role == Role::crew;
  }
  return true;
}

void RunCore::on(const heard::Failed& failed) {
  if (failed.generation != generation_ || phase_ == Phase::waiting) return;
  if (failed.kind != NoAnswer::dead) return recover(failed.text);
  if (last_failure_.empty()) last_failure_ = failed.text;
  wait();  // for the one that is started in its place
}

void RunCore::wait() {
  ++generation_;  // of what was asked before nothing is heard any more
  phase_ = Phase::waiting;
  wanted_.emplace_back(wanted::Wait{generation_, restart_patience});
}

/// Nothing can be committed without the process that is gone, and whoever takes its place may come in a
/// day. At the end of the run there is nothing left to commit.
bool RunCore::has_to_wait() const {
  return phase_ != Phase::saving && args_.lacks_process && args_.lacks_process();
}

/// Nothing of a step that has read a damaged state gets into the run.
void RunCore::on(const heard::Damaged& damaged) {
  if (!is_at(Phase::preparing, damaged.generation)) return;
  if (!damaged.has_copies) return end(runtime::Errc::damaged, damaged.text);
  recover(damaged.text);
}

void RunCore::on(const heard::TimePassed& passed) {
  if (is_at(Phase::waiting, passed.generation)) recover(last_failure_);
}

void RunCore::on(const heard::Restarted& restarted) {
  if (phase_ == Phase::idle) return;
  last_failure_ = restarted.text;
  if (restarted.role == Role::journal) journal_hashes();
  if (concerns(restarted.role)) recover(restarted.text);
}

void RunCore::recover(const std::string& why) {
  if (phase_ == Phase::idle) return;
  last_failure_ = why;
  if (has_to_wait()) return wait();
  if (++recoveries_ > most_recoveries) {
    return end(runtime::Errc::no_progress,
               "step " + std::to_string(committed_.step() + 1) + " was given up after " +
                   std::to_string(most_recoveries) + " new beginnings; the last failure: " + why);
  }
  wanted_.emplace_back(wanted::Note{why});
  ask_standing();
}

}  // namespace troupe::actors
