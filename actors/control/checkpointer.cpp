#include "actors/control/checkpointer.h"

#include <chrono>

#include "runtime/checkpoint/state_checkpoint.h"

namespace troupe::actors {

JournalActor::behavior_type JournalActor::make_behavior() {
  return {
      [this](append_atom, const Pb<wire::JournalEntry>& entry) -> caf::result<void> {
        auto promise = make_response_promise<void>();
        waiting_.emplace_back(entry, promise);
        if (waiting_.size() == 1) attempt();
        return promise;
      },
      [this](resume_atom) { attempt(); },
  };
}

void JournalActor::on_exit() {
  waiting_.clear();
  watcher_ = nullptr;
}

void JournalActor::attempt() {
  while (!waiting_.empty()) {
    auto& [entry, promise] = waiting_.front();
    if (!writer_->append(*entry)) {
      if (!is_alarmed_) {
        runtime::tell(watcher_, alarm_atom_v, "the journal waits: " + writer_->error());
      }
      is_alarmed_ = true;
      return runtime::tell_later(this, std::chrono::seconds(1), resume_atom_v);
    }
    if (is_alarmed_) runtime::tell(watcher_, alarm_atom_v, std::string("the journal goes on"));
    is_alarmed_ = false;
    promise.deliver();
    waiting_.pop_front();
  }
}

CheckpointerActor::behavior_type CheckpointerActor::make_behavior() {
  return {[this](save_atom, const Pb<wire::StepRecord>& record) { return save(*record); }};
}

caf::result<void> CheckpointerActor::save(const wire::StepRecord& record) {
  auto promise = make_response_promise<void>();
  const runtime::StateSnapshot snapshot =
      runtime::take_snapshot(company_->arena, queue_, record);
  promise.deliver();
  try {
    runtime::write_checkpoint(options_.folder, snapshot);
    runtime::retain_checkpoints(options_.folder, options_.keep);
  } catch (const std::exception& error) {
    runtime::tell(watcher_, alarm_atom_v,
                  "checkpoint of step " + std::to_string(record.step()) + " was not saved: " +
                      error.what());
  }
  runtime::tell(company_->directory.find({Role::coordinator}), saved_atom_v, record.step());
  return promise;
}

}  // namespace troupe::actors
