// What outlives the actors that keep a run: actors come and go, these stand in the process like the
// state's arena does.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/checkpoint/state_checkpoint.h"
#include "runtime/cluster/journal/journal.h"
#include "runtime/cluster/lease/lease_rules.h"

namespace troupe::actors {

/// Where a run's commits are made if not in its journal, which is then a copy: by a lease, for several
/// hosts.
struct CommitPlace {
  std::function<runtime::Commitment(const wire::JournalEntry&)> append;
  std::function<std::string()> error;  ///< of the last one that has not committed
};

/// The run's journal, and what this process has committed. Without a writer nothing outlives the
/// process. Of a resumed run the journal has commits already, up to step `journaled`: a replay
/// appends them again, which is remembered and not written.
class Ledger {
 public:
  explicit Ledger(std::unique_ptr<runtime::JournalWriter> writer, uint64_t journaled = 0,
                  CommitPlace place = {})
      : writer_(std::move(writer)), journaled_(journaled), place_(std::move(place)) {}

  /// True when the entry is durable. One that is in already stays as it is. False: error() says
  /// why, and the call may be made again. Nothing of it remains, unless it is open.
  bool append(const wire::JournalEntry& entry);
  /// An entry of which it is not known yet whether it is committed, or that is committed and not in the
  /// journal: nothing else may be decided before it is. True when there is none (any more).
  bool settle();
  bool is_open() const;
  /// Somebody else leads: nothing is committed here any more.
  bool is_fenced() const;
  /// A commit that is in the journal already, of who led before: it is this process's to apply.
  void take_over(const wire::StepRecord& commit);
  std::string error() const;
  std::optional<wire::StepRecord> last_commit() const;

 private:
  bool append_locked(const wire::JournalEntry& entry);
  bool commit(const wire::JournalEntry& entry);

  mutable std::mutex mutex_;
  const std::unique_ptr<runtime::JournalWriter> writer_;
  const uint64_t journaled_;
  const CommitPlace place_;
  std::optional<wire::JournalEntry> open_;
  bool is_fenced_ = false;
  std::string place_error_;
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
