#include "actors/control/ledger.h"

namespace troupe::actors {

bool Ledger::append(const wire::JournalEntry& entry) {
  std::lock_guard lock(mutex_);
  return append_locked(entry);
}

bool Ledger::append_locked(const wire::JournalEntry& entry) {
  const bool is_in =
      entry.has_commit() ? last_commit_ && entry.commit().step() <= last_commit_->step()
                         : entry.has_applied() && entry.applied().step() <= last_hashed_;
  if (is_in) return true;
  const bool is_replay = entry.has_commit() && entry.commit().step() <= journaled_;
  if (!is_replay && !commit(entry)) return false;
  if (writer_ && !is_replay && !writer_->append(entry)) return false;
  open_.reset();
  if (entry.has_commit()) last_commit_ = entry.commit();
  if (entry.has_applied()) last_hashed_ = entry.applied().step();
  return true;
}

/// It stays open until the journal has it too: a step has one commit, also when whoever asked for it has
/// been started again in between.
bool Ledger::commit(const wire::JournalEntry& entry) {
  if (!place_.append) return true;
  if (is_fenced_) return false;
  open_ = entry;
  place_error_.clear();
  const runtime::Commitment outcome = place_.append(entry);
  if (outcome == runtime::Commitment::committed) return true;
  place_error_ = place_.error();
  if (outcome == runtime::Commitment::fenced) {
    is_fenced_ = true;
    open_.reset();
  }
  return false;
}

bool Ledger::settle() {
  std::lock_guard lock(mutex_);
  if (!open_) return true;
  const wire::JournalEntry entry = *open_;
  return append_locked(entry);
}

bool Ledger::is_open() const {
  std::lock_guard lock(mutex_);
  return open_.has_value();
}

bool Ledger::is_fenced() const {
  std::lock_guard lock(mutex_);
  return is_fenced_;
}

void Ledger::take_over(const wire::StepRecord& commit) {
  std::lock_guard lock(mutex_);
  last_commit_ = commit;
}

std::string Ledger::error() const {
  std::lock_guard lock(mutex_);
  if (!place_error_.empty()) return place_error_;
  return writer_ ? writer_->error() : std::string();
}

std::optional<wire::StepRecord> Ledger::last_commit() const {
  std::lock_guard lock(mutex_);
  return last_commit_;
}

void CheckpointDesk::put(std::shared_ptr<const runtime::StateSnapshot> snapshot) {
  std::lock_guard lock(mutex_);
  snapshot_.swap(snapshot);
}

std::shared_ptr<const runtime::StateSnapshot> CheckpointDesk::unwritten() const {
  std::lock_guard lock(mutex_);
  return snapshot_;
}

}  // namespace troupe::actors
