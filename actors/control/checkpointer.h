#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <vector>

#include "actors/company_actor.h"
#include "actors/control/ledger.h"

namespace troupe::actors {

struct CheckpointOptions {
  std::filesystem::path folder;  ///< the run's checkpoints/
  int64_t every;                 ///< steps; 0: the last step alone
  int64_t keep;                  ///< newest ones that stay; 0: all
  std::filesystem::path units = {};  ///< the run's units/, if hashes of units are recorded
};

/// What is kept of a run, and where.
struct Keepers {
  Keepers(std::unique_ptr<runtime::JournalWriter> journal, uint64_t journaled, CommitPlace commits = {})
      : ledger(std::move(journal), journaled, std::move(commits)) {}

  Ledger ledger;
  CheckpointDesk desk;
  CheckpointOptions checkpoints{};
  caf::actor watcher;  ///< hears alarms
};

/// Makes commits durable: appends to the run's journal, and tries again every second while the
/// disk refuses, or more often while the place of a lease's commits does not answer. It waits for both, so it
/// has a thread of its own. When another leads, the run is over here.
class JournalActor : public CompanyActor<Journal> {
 public:
  JournalActor(caf::actor_config& config, std::shared_ptr<Company> company, const Address& address,
               runtime::Cell* cell, std::shared_ptr<Keepers> keepers)
      : CompanyActor(config, std::move(company), address, cell), keepers_(std::move(keepers)) {}

  behavior_type make_behavior() override;
  void on_exit() override {
    waiting_.clear();
    asked_.clear();
  }

 private:
  using Promise = caf::typed_response_promise<void>;
  caf::result<void> append(const Pb<wire::JournalEntry>& entry);
  /// The last commit of this process, and whether a checkpoint is being written. What waits for the
  /// disk is given up: nothing of it is in the journal, and whoever asks decides anew. Of a commit
  /// that may have been made somewhere else it is found out first.
  caf::result<Pb<wire::StepRecord>, bool> history();
  using HistoryPromise = caf::typed_response_promise<Pb<wire::StepRecord>, bool>;
  void attempt();
  /// False: it is tried again later, or never.
  bool has_settled();
  bool append_all();
  void try_later();

  const std::shared_ptr<Keepers> keepers_;
  std::deque<std::pair<Pb<wire::JournalEntry>, Promise>> waiting_;
  std::vector<HistoryPromise> asked_;  // wait for what is open
  bool is_alarmed_ = false;
};

/// Saves committed states while training goes on. It answers when it has its copy of the state, and
/// writes then; a failed save is an alarm and nothing more. A copy that is not written yet outlives
/// the actor, and whoever is started in its place writes it.
class CheckpointerActor : public CompanyActor<Checkpointer> {
 public:
  CheckpointerActor(caf::actor_config& config, std::shared_ptr<Company> company,
                    const Address& address, runtime::Cell* cell, std::shared_ptr<Keepers> keepers)
      : CompanyActor(config, std::move(company), address, cell), keepers_(std::move(keepers)),
        queue_(this->company().lane(address)) {}

  behavior_type make_behavior() override;

 private:
  caf::result<void> save(const wire::StepRecord& record);
  void write();
  void not_saved(uint64_t step, const std::string& why);
  void ended(uint64_t step);
  void write_units();

  const std::shared_ptr<Keepers> keepers_;
  kernels::Queue& queue_;
  uint64_t last_written_ = 0;
  int64_t copy_ms_ = 0;  // how long the last copy took
  bool has_units_alarm_ = false;  // told once
};

}  // namespace troupe::actors
