#include "actors/control/run_core.h"

#include <algorithm>
#include <utility>

#include "runtime/state/hash.h"

namespace troupe::actors {

namespace {

/// A checkpoint of a step that a coordinator before this one knew.
constexpr uint64_t asked_for_before = UINT64_MAX;

RoutingBias bias_of(const wire::StepRecord& record) {
  return {{record.bias().begin(), record.bias().end()}, record.step()};
}

}  // namespace

RunCore::RunCore(Args args)
    : args_(std::move(args)), timeline_(*args_.recipe), bias_(args_.bias), committed_(args_.from->record),
      settled_(args_.from->record.step()) {
  attempt_.epoch.set_term(args_.from->term);
  attempt_.epoch.set_n(args_.epochs);
}

std::vector<Wanted> RunCore::hear(const Heard& heard) {
  if (phase_ != Phase::ended) {
    std::visit([this](const auto& each) { on(each); }, heard);
  }
  return std::exchange(wanted_, {});
}

void RunCore::on(const heard::Run&) {
  if (phase_ == Phase::idle) ask_standing();
}

void RunCore::ask_standing() {
  ++generation_;
  phase_ = Phase::standing;
  wanted_.emplace_back(wanted::Standing{generation_});
}

/// The last commit is the one that this process has made durable or, in a replay, met; before the
/// first it is that of the state that the run began with.
void RunCore::on(const heard::Standing& standing) {
  if (!is_at(Phase::standing, standing.generation)) return;
  if (!standing.is_saving) saving_ = 0;
  // Word of its end may have overtaken this one.
  else if (saving_ == 0 && last_saved_ == 0) saving_ = asked_for_before;
  journal_hashes();
  committed_ = args_.from->record;
  if (standing.appended && standing.appended->step() > committed_.step()) {
    committed_ = *standing.appended;
  }
  record_ = committed_;
  bias_ = committed_.step() == args_.from->record.step() ? args_.bias : bias_of(committed_);
  was_recovered_ = true;
  if (record_.step() > settled_) return apply();
  next_step();
}

uint64_t RunCore::last_step() const {
  return static_cast<uint64_t>(args_.options.last_step > 0 ? args_.options.last_step
                                                           : args_.recipe->steps);
}

bool RunCore::is_due(int64_t every) const {
  return is_final_ || (every > 0 && record_.step() % static_cast<uint64_t>(every) == 0);
}

void RunCore::next_step() {
  if (committed_.step() > settled_) recoveries_ = 0;
  settled_ = committed_.step();
  was_recovered_ = false;
  if (is_final_ || settled_ >= last_step() || pauses_here()) {
    phase_ = Phase::saving;
    return end_when_kept();
  }
  attempt_ = {.step = settled_ + 1, .epoch = attempt_.epoch,
              .scale_bits = args_.recipe->scale_bits, .is_repeat_of_nan = false};
  attempt_.epoch.set_n(attempt_.epoch.n() + 1);
  attempts_ = static_cast<uint32_t>(recoveries_);
  compute();
}

/// A pause has no checkpoint of its own, and waits for none if one is written only now and then: steps go on
/// meanwhile. What a replay has yet to meet is done first.
bool RunCore::pauses_here() {
  const bool has_stepped = settled_ > args_.from->record.step();
  if (!is_pausing_ || !has_stepped || settled_ < args_.from->commits.size()) return false;
  return saving_ == 0 || ++steps_to_pause_ > most_steps_to_pause;
}

wire::BeginStep RunCore::begin_message() const {
  wire::BeginStep begin;
  *begin.mutable_epoch() = attempt_.epoch;
  begin.set_step(attempt_.step);
  begin.set_scale_bits(attempt_.scale_bits);
  begin.set_bias_version(bias_.version);
  begin.mutable_bias()->Add(bias_.values.begin(), bias_.values.end());
  return begin;
}

void RunCore::compute() {
  ++attempts_;
  ++generation_;
  phase_ = Phase::computing;
  wanted_.emplace_back(wanted::Compute{generation_, begin_message()});
}

void RunCore::on(const heard::Collected& collected) {
  if (!is_at(Phase::computing, collected.generation)) return;
  sum(collected.report);
  sums_.block_norms.assign(args_.blocks, 0.0);
  missing_ = args_.crews;
  phase_ = Phase::preparing;
  wanted_.emplace_back(wanted::Prepare{generation_, begin_message()});
}

/// Losses and loads come unit by unit, and are summed once, here.
void RunCore::sum(const wire::StepReport& report) {
  const Recipe& recipe = *args_.recipe;
  sums_ = StepSums{};
  sums_.faults = report.faults();
  sums_.mtp_loss.assign(static_cast<size_t>(recipe.shape.mtp_layers), 0);
  for (const wire::UnitLosses& unit : report.losses()) {
    sums_.main_loss += unit.main();
    for (int m = 0; m < unit.mtp_size(); ++m) sums_.mtp_loss[static_cast<size_t>(m)] += unit.mtp(m);
  }
  sums_.loads.resize(static_cast<size_t>(recipe.moe_layers()));
  for (wire::Loads& layer : sums_.loads) {
    layer.mutable_rows()->Resize(static_cast<int>(recipe.shape.experts), 0);
  }
  for (const wire::UnitRouting& unit : report.routing()) {
    const auto layer = static_cast<size_t>(unit.layer() - recipe.shape.dense_layers);
    auto& rows = *sums_.loads[layer].mutable_rows();
    for (int e = 0; e < unit.rows_size(); ++e) rows[e] += unit.rows(e);
    sums_.balance_loss += unit.balance_loss();
  }
}

void RunCore::on(const heard::Prepared& prepared) {
  if (!is_at(Phase::preparing, prepared.generation)) return;
  for (int i = 0; i < prepared.part.blocks_size(); ++i) {
    sums_.block_norms[prepared.part.blocks(i)] = prepared.part.squared_norms(i);
  }
  sums_.faults |= prepared.part.faults();
  if (--missing_ == 0) decide();
}

void RunCore::decide() {
  if (const auto again = next_attempt(attempt_, sums_.faults)) {
    attempt_ = *again;
    return compute();
  }
  if (sums_.faults != 0 && args_.recipe->on_nan == OnNan::stop) {
    return end(runtime::Errc::stopped_on_nan, stop_message(attempt_, sums_.faults));
  }
  record_ = make_record({.recipe = *args_.recipe,
                         .attempt = attempt_,
                         .numbers = timeline_.at(attempt_.step),
                         .trend = committed_.trend(),
                         .bias = bias_,
                         .sums = sums_});
  const std::string objection = spike_objection(*args_.recipe, record_);
  if (!objection.empty()) return end(runtime::Errc::stopped_on_spike, objection);
  make_durable();
}

/// Commit law: the record in the journal is the commit; nobody acts on it before it is durable. A
/// replayed step has its record already, and must come to the same; the ledger then remembers how
/// far the replay is, for from here on gradients are there to be applied.
void RunCore::make_durable() {
  if (is_replay()) {
    const std::string difference =
        replay_difference(record_, args_.from->commits[record_.step() - 1]);
    if (!difference.empty()) return end(runtime::Errc::replay_differs, difference);
  }
  phase_ = Phase::appending;
  wanted_.emplace_back(wanted::Append{generation_, record_});
}

void RunCore::on(const heard::Durable& durable) {
  if (is_at(Phase::appending, durable.generation)) apply();
}

void RunCore::apply() {
  committed_ = record_;
  bias_ = bias_of(record_);
  is_final_ = record_.step() >= last_step() || is_stopping_;
  hashes_.assign(args_.blocks, 0);
  kept_.clear();
  missing_ = args_.crews;
  phase_ = Phase::applying;
  wanted_.emplace_back(wanted::Apply{generation_, record_, is_due(args_.options.hash_every)});
}

void RunCore::on(const heard::Applied& applied) {
  if (!is_at(Phase::applying, applied.generation)) return;
  for (int i = 0; i < applied.part.hashes_size(); ++i) {
    hashes_[applied.part.blocks(i)] = applied.part.hashes(i);
  }
  for (int i = 0; i < applied.part.kept_hashes_size(); ++i) {
    kept_[applied.part.kept_blocks(i)] = applied.part.kept_hashes(i);
  }
  if (--missing_ == 0) this->applied();
}

void RunCore::applied() {
  wire::StepDone done;
  *done.mutable_record() = record_;
  if (is_due(args_.options.hash_every)) {
    done.set_hash(args_.state_hash(record_, hashes_));
    if (!meets_journal(done.hash()) || !copies_are_equal()) return;
  }
  done.set_attempts(std::max(1u, attempts_));
  wanted_.emplace_back(wanted::Announce{std::move(done)});
  checkpoint();
}

/// Commit law: owner and buddy apply the same function to the same.
bool RunCore::copies_are_equal() {
  for (const auto& [block, hash] : kept_) {
    if (hash == hashes_[block]) continue;
    end(runtime::Errc::damaged,
        "block " + std::to_string(block) + " of state " + std::to_string(record_.step()) +
            " has hash " + runtime::to_hex(hashes_[block]) + " at its owner and " + runtime::to_hex(hash) +
            " at its buddy: one of them has computed something else");
    return false;
  }
  return true;
}

bool RunCore::meets_journal(uint64_t hash) {
  const auto journaled = args_.from->hashes.find(record_.step());
  if (journaled == args_.from->hashes.end()) {
    unjournaled_[record_.step()] = hash;
    wanted_.emplace_back(wanted::JournalHash{record_.step(), hash});
    return true;
  }
  if (journaled->second == hash) return true;
  end(runtime::Errc::replay_differs,
      "state " + std::to_string(record_.step()) + " has hash " + runtime::to_hex(hash) +
          ", the journal has " + runtime::to_hex(journaled->second));
  return false;
}

/// The next step waits until the checkpointer has its copy. A save that is still being written is
/// not waited for, but at the end of the run, and after a failure: whoever asked before may have
/// asked for this state, whose copy must be whole before the state is written over.
void RunCore::checkpoint() {
  if (!args_.has_checkpointer || !is_due(args_.options.checkpoint_every) ||
      (saving_ != 0 && !is_final_ && !was_recovered_)) {
    return evaluate();
  }
  saving_ = record_.step();
  phase_ = Phase::copying;
  wanted_.emplace_back(wanted::Save{generation_, record_});
}

void RunCore::on(const heard::Copied& copied) {
  if (is_at(Phase::copying, copied.generation)) evaluate();
}

/// The next step waits: it would overwrite the state two commits later.
void RunCore::evaluate() {
  const bool is_stopped = is_final_ && record_.step() < last_step();
  if (!args_.has_evaluator || is_stopped || !is_due(args_.options.eval_every)) return next_step();
  phase_ = Phase::evaluating;
  wanted_.emplace_back(wanted::Evaluate{generation_, record_});
}

void RunCore::on(const heard::Evaluated& evaluated) {
  if (!is_at(Phase::evaluating, evaluated.generation)) return;
  wanted_.emplace_back(wanted::Report{evaluated.evaluation});
  next_step();
}

/// No step waits for its hash, but one that was lost with the journal's actor is told again.
void RunCore::journal_hashes() {
  for (const auto& [step, hash] : unjournaled_) {
    wanted_.emplace_back(wanted::JournalHash{step, hash});
  }
}

void RunCore::on(const heard::HashDurable& durable) {
  unjournaled_.erase(durable.step);
  if (phase_ == Phase::saving) end_when_kept();
}

void RunCore::end_when_kept() {
  if (saving_ == 0 && unjournaled_.empty()) end(runtime::Errc::ok, {});
}

void RunCore::end(runtime::Errc code, std::string text) {
  phase_ = Phase::ended;
  wanted_.emplace_back(wanted::End{code, std::move(text)});
}

/// One that was still being written when the last was asked for says nothing of the last.
void RunCore::on(const heard::Saved& saved) {
  last_saved_ = saved.step;
  if (saving_ == saved.step || saving_ == asked_for_before) saving_ = 0;
  if (phase_ == Phase::saving) end_when_kept();
}

void RunCore::on(const heard::Stop&) { is_stopping_ = true; }

void RunCore::on(const heard::Pause&) { is_pausing_ = true; }

}  // namespace troupe::actors
