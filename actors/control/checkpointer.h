#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "actors/company.h"
#include "runtime/cluster/journal.h"

namespace troupe::actors {

/// Makes commits durable: appends to the run's journal, and tries again every second while the
/// disk refuses. It waits for the disk, so it has a thread of its own.
class JournalActor : public Journal::base {
 public:
  JournalActor(caf::actor_config& config, std::unique_ptr<runtime::JournalWriter> writer,
               caf::actor watcher)
      : Journal::base(config), writer_(std::move(writer)), watcher_(std::move(watcher)) {}
  const char* name() const override { return "journal"; }

  behavior_type make_behavior() override;
  void on_exit() override;

 private:
  using Promise = caf::typed_response_promise<void>;
  void attempt();

  std::unique_ptr<runtime::JournalWriter> writer_;
  caf::actor watcher_;
  std::deque<std::pair<Pb<wire::JournalEntry>, Promise>> waiting_;
  bool is_alarmed_ = false;
};

struct CheckpointOptions {
  std::filesystem::path folder;  ///< the run's checkpoints/
  int64_t every;                 ///< steps; 0: the last step alone
  int64_t keep;                  ///< newest ones that stay; 0: all
};

/// Saves committed states while training goes on. It answers when it has its copy of the state, and
/// writes then; a failed save is an alarm and nothing more.
class CheckpointerActor : public Checkpointer::base {
 public:
  CheckpointerActor(caf::actor_config& config, std::shared_ptr<Company> company,
                    CheckpointOptions options, caf::actor watcher)
      : Checkpointer::base(config), company_(std::move(company)), options_(std::move(options)),
        watcher_(std::move(watcher)), queue_(company_->new_lane()) {}
  const char* name() const override { return "checkpointer"; }

  behavior_type make_behavior() override;
  void on_exit() override { watcher_ = nullptr; }

 private:
  caf::result<void> save(const wire::StepRecord& record);

  const std::shared_ptr<Company> company_;
  const CheckpointOptions options_;
  caf::actor watcher_;
  kernels::Queue& queue_;
};

}  // namespace troupe::actors
