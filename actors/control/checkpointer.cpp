#include "actors/control/checkpointer.h"

#include <chrono>

#include "runtime/checkpoint/state_checkpoint.h"
#include "runtime/state/unit_file.h"

namespace troupe::actors {
namespace {

constexpr std::chrono::milliseconds disk_retry{1000}, open_retry{100};

int64_t milliseconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begun).count();
}

wire::Event checkpoint_event(wire::Event::Kind kind, uint64_t step, std::string text) {
  wire::Event event;
  event.set_kind(kind);
  event.set_actor(to_string(Address{Role::checkpointer}));
  event.set_step(step);
  event.set_text(std::move(text));
  return event;
}

}  // namespace

JournalActor::behavior_type JournalActor::make_behavior() {
  return {
      seen("append",
           [this](append_atom, const Pb<wire::JournalEntry>& entry) { return append(entry); }),
      seen("history", [this](history_atom) { return history(); }),
      seen("resume", [this](resume_atom) { attempt(); }),
  };
}

caf::result<void> JournalActor::append(const Pb<wire::JournalEntry>& entry) {
  const bool is_commit = entry->has_commit();
  const uint64_t step = is_commit ? entry->commit().step() : entry->applied().step();
  at_step(step);
  passes(is_commit ? Phase::commit : Phase::apply, step);
  auto promise = make_response_promise<void>();
  waiting_.emplace_back(entry, promise);
  if (waiting_.size() == 1) attempt();
  return promise;
}

caf::result<Pb<wire::StepRecord>, bool> JournalActor::history() {
  waiting_.clear();
  auto promise = make_response_promise<Pb<wire::StepRecord>, bool>();
  asked_.push_back(promise);
  if (asked_.size() == 1) attempt();
  return promise;
}

bool JournalActor::has_settled() {
  if (!asked_.empty() && !keepers_->ledger.settle()) return false;
  const auto last = keepers_->ledger.last_commit();
  for (HistoryPromise& promise : std::exchange(asked_, {})) {
    promise.deliver(Pb<wire::StepRecord>(last ? *last : wire::StepRecord()),
                    keepers_->desk.unwritten() != nullptr);
  }
  return true;
}

bool JournalActor::append_all() {
  while (!waiting_.empty()) {
    auto& [entry, promise] = waiting_.front();
    if (!keepers_->ledger.append(*entry)) return false;
    promise.deliver();
    waiting_.pop_front();
  }
  return true;
}

void JournalActor::attempt() {
  if (!has_settled() || !append_all()) return try_later();
  if (std::exchange(is_alarmed_, false)) {
    runtime::tell(keepers_->watcher, alarm_atom_v, std::string("the journal goes on"));
    waits_for(nullptr);
  }
}

void JournalActor::try_later() {
  const Ledger& ledger = keepers_->ledger;
  if (ledger.is_fenced()) return runtime::tell(keepers_->watcher, fault_atom_v, ledger.error());
  if (!std::exchange(is_alarmed_, true)) {
    runtime::tell(keepers_->watcher, alarm_atom_v, "the journal waits: " + ledger.error());
  }
  waits_for(ledger.is_open() ? "word of its commit" : "room on the disk");
  runtime::tell_later(this, ledger.is_open() ? open_retry : disk_retry, resume_atom_v);
}

CheckpointerActor::behavior_type CheckpointerActor::make_behavior() {
  if (keepers_->desk.unwritten() || company().units) {
    runtime::tell(caf::actor_cast<Checkpointer>(this), resume_atom_v);
  }
  return {
      seen("save", [this](save_atom, const Pb<wire::StepRecord>& record) { return save(*record); }),
      seen("resume",
           [this](resume_atom) {
             write_units();
             write();
           }),
  };
}

caf::result<void> CheckpointerActor::save(const wire::StepRecord& record) {
  at_step(record.step());
  auto promise = make_response_promise<void>();
  if (record.step() == last_written_) {  // asked for again after a failure
    promise.deliver();
    runtime::tell(company().directory.find({Role::coordinator}), saved_atom_v, record.step());
    return promise;
  }
  passes(Phase::begin, record.step());
  const auto begun = std::chrono::steady_clock::now();
  try {
    keepers_->desk.put(std::make_shared<const runtime::StateSnapshot>(
        runtime::take_snapshot(company().arena, queue_, record,
                                                 name_of(company().recipe.arithmetic))));
  } catch (const std::exception& error) {  // no memory for a copy
    promise.deliver();
    not_saved(record.step(), error.what());
    return promise;
  }
  copy_ms_ = milliseconds_since(begun);
  promise.deliver();
  write_units();
  write();
  return promise;
}

/// Training goes on.
void CheckpointerActor::not_saved(uint64_t step, const std::string& why) {
  company().happened(checkpoint_event(wire::Event::CHECKPOINT_FAILED, step, why));
  runtime::tell(keepers_->watcher, alarm_atom_v,
                "checkpoint of step " + std::to_string(step) + " was not saved: " + why);
  ended(step);
}

void CheckpointerActor::ended(uint64_t step) {
  last_written_ = step;
  keepers_->desk.clear();
  runtime::tell(company().directory.find({Role::coordinator}), saved_atom_v, step);
}

/// Hashes of units explain a run and decide nothing: those that the disk does not take are lost.
void CheckpointerActor::write_units() {
  const std::filesystem::path& folder = keepers_->checkpoints.units;
  if (!company().units || folder.empty()) return;
  while (const auto units = company().units->oldest()) {
    try {
      runtime::write_units(folder, *units);
      has_units_alarm_ = false;
    } catch (const std::exception& error) {
      if (!std::exchange(has_units_alarm_, true)) {
        runtime::tell(keepers_->watcher, alarm_atom_v,
                      "unit hashes of step " + std::to_string(units->step()) +
                          " were not saved: " + error.what());
      }
    }
    company().units->drop(units->step());
  }
}

void CheckpointerActor::write() {
  const auto snapshot = keepers_->desk.unwritten();
  if (!snapshot) return;
  const uint64_t step = snapshot->record.step();
  passes(Phase::checkpoint, step);
  const CheckpointOptions& options = keepers_->checkpoints;
  const auto begun = std::chrono::steady_clock::now();
  try {
    runtime::write_checkpoint(options.folder, *snapshot);
    runtime::retain_checkpoints(options.folder, options.keep);
    const auto kept = runtime::list_checkpoints(options.folder);
    const bool is_full = options.keep > 0 && static_cast<int64_t>(kept.size()) >= options.keep;
    // What is older could be done again from state 0 alone, where the run began.
    if (is_full && company().units) runtime::drop_units(options.units, kept.front().step);
    company().happened(checkpoint_event(
        wire::Event::CHECKPOINT_SAVED, step,
        "training waited " + std::to_string(copy_ms_) + " ms for the copy, which was written in " +
            std::to_string(milliseconds_since(begun)) + " ms"));
  } catch (const std::exception& error) {
    return not_saved(step, error.what());
  }
  ended(step);
}

}  // namespace troupe::actors
