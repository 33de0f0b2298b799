#include "actors/control/ledger.h"

namespace troupe::actors {

bool Ledger::append(const wire::JournalEntry& entry) {
  std::lock_guard lock(mutex_);
  const bool is_in =
      entry.has_commit() ? last_commit_ && entry.commit().step() <= last_commit_->step()
                         : entry.has_applied() && entry.applied().step() <= last_hashed_;
  if (is_in) return true;
  const bool is_replay = entry.has_commit() && entry.commit().step() <= journaled_;
  if (writer_ && !is_replay && !writer_->append(entry)) return false;
  if (entry.has_commit()) last_commit_ = entry.commit();
  if (entry.has_applied()) last_hashed_ = entry.applied().step();
  return true;
}

void Ledger::take_over(const wire::StepRecord& commit) {
  std::lock_guard lock(mutex_);
  last_commit_ = commit;
}

std::string Ledger::error() const {
  std::lock_guard lock(mutex_);
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
