// What outlives the actors that keep a run: actors come and go, these stand in the process like the
// state's arena does.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/checkpoint/state_checkpoint.h"
#include "runtime/cluster/journal.h"

namespace troupe::actors {

/// The run's journal, and what this process has committed. Without a writer nothing outlives the
/// process. Of a resumed run the journal has commits already, up to step `journaled`: a replay
/// appends them again, which is remembered and not written.
class Ledger {
 public:
  explicit Ledger(std::unique_ptr<runtime::JournalWriter> writer, uint64_t journaled = 0)
      : writer_(std::move(writer)), journaled_(journaled) {}

  /// True when the entry is durable. One that is in already stays as it is. False: error() says
  /// why, nothing of it remains, and the call may be made again.
  bool append(const wire::JournalEntry& entry);
  /// A commit that is in the journal already, of who led before: it is this process's to apply.
  void take_over(const wire::StepRecord& commit);
  std::string error() const;
  std::optional<wire::StepRecord> last_commit() const;

 private:
  mutable std::mutex mutex_;
  const std::unique_ptr<runtime::JournalWriter> writer_;
  const uint64_t journaled_;
  std::optional<wire::StepRecord> last_commit_;
  uint64_t last_hashed_ = 0;
};

/// The copy of a state that is being written: whoever writes it may end, and another goes on.
class CheckpointDesk {
 public:
  void put(std::shared_ptr<const runtime::StateSnapshot> snapshot);
  /// Null: nothing is to be written.
  std::shared_ptr<const runtime::StateSnapshot> unwritten() const;
  void clear() { put(nullptr); }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const runtime::StateSnapshot> snapshot_;
};

}  // namespace troupe::actors
