#include "actors/control/coordinator.h"

#include "actors/deadlines.h"
#include "runtime/error.h"
#include "runtime/state/hash.h"

namespace troupe::actors {

CoordinatorActor::CoordinatorActor(caf::actor_config& config, std::shared_ptr<Company> company,
                                   CoordinatorOptions options, RoutingBias bias, ResumePoint from)
    : Coordinator::base(config), company_(std::move(company)), options_(options),
      commits_(std::move(from.commits)), journaled_hashes_(std::move(from.hashes)),
      bias_(std::move(bias)), record_(std::move(from.record)) {
  attempt_.epoch.set_term(from.term);
}

CoordinatorActor::behavior_type CoordinatorActor::make_behavior() {
  return {
      [this](saved_atom, uint64_t) {
        is_saving_ = false;
        if (waits_for_save_) begin_step();
      },
      [this](stop_atom) { is_stopping_ = true; },
      [this](run_atom, const caf::actor& watcher) {
        watcher_ = watcher;
        begin_step();
      },
  };
}

bool CoordinatorActor::is_due(int64_t every) const {
  return is_final_ || (every > 0 && record_.step() % static_cast<uint64_t>(every) == 0);
}

void CoordinatorActor::begin_step() {
  if (is_final_ || record_.step() >= last_step()) {
    waits_for_save_ = is_saving_;
    if (!is_saving_) runtime::tell(watcher_, done_atom_v);
    return;
  }
  attempt_ = {.step = record_.step() + 1, .epoch = attempt_.epoch,
              .scale_bits = company_->recipe.scale_bits, .is_repeat_of_nan = false};
  attempt_.epoch.set_n(attempt_.epoch.n() + 1);
  attempts_ = 0;
  begun_ = std::chrono::steady_clock::now();
  begin_attempt();
}

Pb<wire::BeginStep> CoordinatorActor::begin_message() const {
  wire::BeginStep begin;
  *begin.mutable_epoch() = attempt_.epoch;
  begin.set_step(attempt_.step);
  begin.set_scale_bits(attempt_.scale_bits);
  begin.set_bias_version(bias_.version);
  begin.mutable_bias()->Add(bias_.values.begin(), bias_.values.end());
  return begin;
}

void CoordinatorActor::begin_attempt() {
  ++attempts_;
  runtime::ask(this, company_->directory.find({Role::trainer}), deadlines::step, begin_atom_v,
               begin_message())
      .then([this](const Pb<wire::StepReport>& report) { collected(report); },
            [this](const caf::error& error) { failed(error); });
}

/// Losses and loads come unit by unit, and are summed once, here.
void CoordinatorActor::collected(const Pb<wire::StepReport>& report) {
  const Recipe& recipe = company_->recipe;
  sums_ = StepSums{};
  sums_.faults = report->faults();
  sums_.mtp_loss.assign(static_cast<size_t>(recipe.shape.mtp_layers), 0);
  for (const wire::UnitLosses& unit : report->losses()) {
    sums_.main_loss += unit.main();
    for (int m = 0; m < unit.mtp_size(); ++m) sums_.mtp_loss[static_cast<size_t>(m)] += unit.mtp(m);
  }
  sums_.loads.resize(static_cast<size_t>(recipe.moe_layers()));
  for (wire::Loads& layer : sums_.loads) {
    layer.mutable_rows()->Resize(static_cast<int>(recipe.shape.experts), 0);
  }
  for (const wire::UnitRouting& unit : report->routing()) {
    auto& rows = *sums_.loads[static_cast<size_t>(company_->moe_index(unit.layer()))].mutable_rows();
    for (int e = 0; e < unit.rows_size(); ++e) rows[e] += unit.rows(e);
    sums_.balance_loss += unit.balance_loss();
  }
  prepare();
}

template <class Result, class... Ts>
void CoordinatorActor::ask_shards(void (CoordinatorActor::*answered)(const Pb<Result>&),
                                  const Ts&... values) {
  const auto shards = company_->directory.of(Role::optimizer_shard);
  missing_ = shards.size();
  for (const caf::actor& shard : shards) {
    runtime::ask(this, shard, deadlines::step, values...)
        .then([this, answered](const Pb<Result>& part) { (this->*answered)(part); },
              [this](const caf::error& error) { failed(error); });
  }
}

void CoordinatorActor::prepare() {
  sums_.block_norms.assign(company_->arena.blocks().size(), 0.0);
  ask_shards<wire::Prepared>(&CoordinatorActor::prepared, prepare_atom_v, begin_message());
}

void CoordinatorActor::prepared(const Pb<wire::Prepared>& part) {
  for (int i = 0; i < part->blocks_size(); ++i) {
    sums_.block_norms[part->blocks(i)] = part->squared_norms(i);
  }
  sums_.faults |= part->faults();
  if (--missing_ == 0) decide();
}

void CoordinatorActor::decide() {
  if (const auto again = next_attempt(attempt_, sums_.faults)) {
    attempt_ = *again;
    return begin_attempt();
  }
  if (sums_.faults != 0 && company_->recipe.on_nan == OnNan::stop) {
    return failed(runtime::make_error(runtime::Errc::stopped_on_nan,
                                      stop_message(attempt_, sums_.faults)));
  }
  record_ = make_record({company_->recipe, attempt_, record_.consumed_tokens(), bias_, sums_});
  make_durable();
}

/// Commit law: the record in the journal is the commit; nobody acts on it before it is durable. A
/// replayed step has its record already, and must come to the same.
void CoordinatorActor::make_durable() {
  if (is_replay()) {
    const std::string difference = replay_difference(record_, commits_[record_.step() - 1]);
    if (difference.empty()) return commit();
    return failed(runtime::make_error(runtime::Errc::replay_differs, difference));
  }
  const caf::actor journal = company_->directory.find({Role::journal});
  if (!journal) return commit();
  wire::JournalEntry entry;
  *entry.mutable_commit() = record_;
  runtime::ask(this, journal, caf::infinite, append_atom_v, Pb<wire::JournalEntry>(std::move(entry)))
      .then([this] { commit(); }, [this](const caf::error& error) { failed(error); });
}

void CoordinatorActor::commit() {
  bias_.values.assign(record_.bias().begin(), record_.bias().end());
  bias_.version = record_.step();
  is_final_ = is_last() || is_stopping_;
  hashes_.assign(company_->arena.blocks().size(), 0);
  ask_shards<wire::Applied>(&CoordinatorActor::applied, commit_atom_v, Pb<wire::StepRecord>(record_),
                            is_due(options_.hash_every));
}

void CoordinatorActor::applied(const Pb<wire::Applied>& part) {
  for (int i = 0; i < part->hashes_size(); ++i) hashes_[part->blocks(i)] = part->hashes(i);
  if (--missing_ == 0) step_done();
}

void CoordinatorActor::step_done() {
  wire::StepDone done;
  *done.mutable_record() = record_;
  if (is_due(options_.hash_every)) {
    done.set_hash(runtime::state_hash(company_->arena,
                                      {runtime::cpu_arithmetic, record_.consumed_tokens(),
                                       bias_.values, hashes_}));
    const auto journaled = journaled_hashes_.find(record_.step());
    if (journaled == journaled_hashes_.end()) {
      journal_hash(done.hash());
    } else if (journaled->second != done.hash()) {
      return failed(runtime::make_error(
          runtime::Errc::replay_differs,
          "state " + std::to_string(record_.step()) + " has hash " + runtime::to_hex(done.hash()) +
              ", the journal has " + runtime::to_hex(journaled->second)));
    }
  }
  done.set_seconds(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count());
  done.set_attempts(attempts_);
  runtime::tell(watcher_, Pb<wire::StepDone>(std::move(done)));
  checkpoint();
}

/// Not waited for: nothing depends on it.
void CoordinatorActor::journal_hash(uint64_t hash) {
  const caf::actor journal = company_->directory.find({Role::journal});
  if (!journal) return;
  wire::JournalEntry entry;
  entry.mutable_applied()->set_step(record_.step());
  entry.mutable_applied()->set_hash(hash);
  runtime::tell(journal, append_atom_v, Pb<wire::JournalEntry>(std::move(entry)));
}

/// The next step waits until the checkpointer has its copy; a save that is still being written is
/// not waited for, but at the end of the run.
void CoordinatorActor::checkpoint() {
  const caf::actor checkpointer = company_->directory.find({Role::checkpointer});
  if (!checkpointer || !is_due(options_.checkpoint_every) || (is_saving_ && !is_final_)) {
    return after_step();
  }
  is_saving_ = true;
  runtime::ask(this, checkpointer, deadlines::step, save_atom_v, Pb<wire::StepRecord>(record_))
      .then([this] { after_step(); }, [this](const caf::error& error) { failed(error); });
}

void CoordinatorActor::after_step() {
  const bool is_stopped = is_final_ && !is_last();
  if (!is_stopped && is_due(options_.eval_every) && company_->directory.find({Role::evaluator})) {
    return evaluate();
  }
  begin_step();
}

/// The next step waits: it would overwrite the state two commits later.
void CoordinatorActor::evaluate() {
  runtime::ask(this, company_->directory.find({Role::evaluator}), deadlines::evaluation,
               evaluate_atom_v, Pb<wire::StepRecord>(record_))
      .then(
          [this](const Pb<wire::Evaluation>& evaluation) {
            runtime::tell(watcher_, evaluation);
            begin_step();
          },
          [this](const caf::error& error) { failed(error); });
}

void CoordinatorActor::failed(const caf::error& error) {
  if (watcher_) runtime::tell(watcher_, error);
  quit(caf::exit_reason::user_shutdown);  // the watcher has the reason
}

}  // namespace troupe::actors
