#include "actors/control/coordinator.h"

#include "actors/messages/fan_out.h"
#include "actors/placement/wire_minimum.h"
#include "runtime/state/hash.h"

namespace troupe::actors {
namespace {

NoAnswer no_answer_of(const caf::error& error) {
  if (runtime::is_own(error)) return NoAnswer::refused;
  return error == caf::sec::request_timeout ? NoAnswer::late : NoAnswer::dead;
}

}  // namespace

CoordinatorActor::CoordinatorActor(caf::actor_config& config, std::shared_ptr<Company> all,
                                   const Address& address, runtime::Cell* cell, const Setup& setup)
    : CompanyActor(config, std::move(all), address, cell), watcher_(setup.watcher),
      from_(setup.from),
      begins_again_(setup.from->term > 1 || company().epochs > 0),
      core_({.recipe = &company().recipe,
             .options = setup.options,
             .bias = setup.bias,
             .from = setup.from,
             .epochs = company().epochs,
             .crews = static_cast<size_t>(std::max(1, company().plan.processes)),
             .blocks = company().arena.blocks().size(),
             .has_checkpointer = company().directory.find({Role::checkpointer}) != nullptr,
             .has_evaluator = company().directory.find({Role::evaluator}) != nullptr,
             .lacks_process = [this] {
               return crew_ends_.is_one_missing(company().directory, company().process);
             },
             .state_hash = [this](const auto& record, auto hashes) {
               return state_hash(record, hashes);
             }}) {}

CoordinatorActor::behavior_type CoordinatorActor::make_behavior() {
  return {
      seen("saved", [this](saved_atom, uint64_t step) { happened(heard::Saved{step}); }),
      seen("stop", [this](stop_atom) { happened(heard::Stop{}); }),
      seen("pause", [this](pause_atom) { happened(heard::Pause{}); }),
      seen("restarted",
           [this](restarted_atom, uint8_t role, const std::string& text) {
             const Role its = static_cast<Role>(role);
             if (its == Role::optimizer_shard || its == Role::crew) group_term_.lost();
             happened(heard::Restarted{its, text});
           }),
      seen("resume", [this](resume_atom, uint64_t generation) {
        happened(heard::TimePassed{generation});
      }),
      seen("run",
           [this](run_atom) {
             if (company().is_stop_requested) happened(heard::Stop{});
             if (company().is_pause_requested) happened(heard::Pause{});
             happened(heard::Run{});
           }),
  };
}

void CoordinatorActor::happened(Heard heard) {
  for (const Wanted& wanted : core_.hear(heard)) {
    std::visit([this](const auto& each) { play(each); }, wanted);
  }
}

auto CoordinatorActor::on_failure(Generation generation, std::string whom) {
  return [this, generation, whom = std::move(whom)](const caf::error& error) {
    happened(heard::Failed{generation, no_answer_of(error), whom + ": " + runtime::describe(error)});
  };
}

void CoordinatorActor::play(const wanted::Standing& wanted) {
  waits_for("history");
  runtime::ask(this, company().directory.find({Role::journal}), company().deadlines.step,
               history_atom_v)
      .then(
          [this, generation = wanted.generation](const Pb<wire::StepRecord>& last, bool is_saving) {
            heard::Standing standing{generation, {}, is_saving};
            if (last->step() > 0) standing.appended = *last;
            happened(std::move(standing));
          },
          on_failure(wanted.generation, "journal"));
}

/// Who has come in a lost one's place first gets the state that the step begins with.
void CoordinatorActor::play(const wanted::Compute& wanted) {
  const std::set<int> newcomers = company().newcomers.get();
  if (newcomers.empty()) return compute(wanted);
  wire::StepRecord record;
  record.set_step(wanted.begin.step() - 1);
  *record.mutable_epoch() = wanted.begin.epoch();
  restore(newcomers, wanted.generation, record, [this, wanted] { compute(wanted); });
}

/// Everybody takes part: some send, the newcomers wait for all of it.
void CoordinatorActor::restore(const std::set<int>& newcomers, Generation generation,
                               wire::StepRecord record, std::function<void()> next) {
  waits_for("restored");
  record.mutable_absent()->Assign(newcomers.begin(), newcomers.end());
  const auto left = std::make_shared<size_t>(newcomers.size());
  for (const int process : newcomers) {
    ask_all<void>(this, company().directory.of(Role::crew), company().deadlines.around_states(),
                  [](size_t) {},
                  {[this, newcomers, generation, left, next] {
                     if (--*left > 0 || !core_.is_under_way(generation)) return;
                     company().newcomers.remove(newcomers);
                     next();
                   },
                   on_failure(generation, "crew")},
                  restore_atom_v, Pb<wire::StepRecord>(record), int32_t{process});
  }
}

/// Those who live apply the commit, and who holds a copy sends weights in a lost owner's place; then
/// the newcomers get their state, and answer as the others do.
void CoordinatorActor::apply_without(const std::set<int>& newcomers, const wanted::Apply& wanted) {
  Cast living, fresh;
  for (const auto& member : company().directory.of(Role::crew)) {
    (newcomers.contains(member.first.index) ? fresh : living).push_back(member);
  }
  wire::StepRecord record = wanted.record;
  record.mutable_absent()->Add(newcomers.begin(), newcomers.end());
  const auto parts = std::make_shared<std::vector<wire::Applied>>();
  const auto answered = [parts](const Pb<wire::Applied>& part) { parts->push_back(*part); };
  const auto failed = on_failure(wanted.generation, "crew");
  const auto all_have = [this, parts, generation = wanted.generation] {
    for (const wire::Applied& part : *parts) {
      use_.hear(part);
      happened(heard::Applied{generation, part});
    }
  };
  const auto ask_fresh = [this, fresh, wanted, answered, all_have, failed] {
    ask_all<Pb<wire::Applied>>(this, fresh, company().deadlines.around_crew(), [](size_t) {},
                               {answered, all_have, failed}, commit_atom_v,
                               Pb<wire::StepRecord>(wanted.record), wanted.with_hashes);
  };
  ask_all<Pb<wire::Applied>>(
      this, living, company().deadlines.around_crew(), [](size_t) {},
      {answered,
       [this, newcomers, wanted, ask_fresh] {
         restore(newcomers, wanted.generation, wanted.record, ask_fresh);
       },
       failed},
      commit_atom_v, Pb<wire::StepRecord>(record), wanted.with_hashes);
}

void CoordinatorActor::compute(const wanted::Compute& wanted) {
  wire::BeginStep begin = wanted.begin;
  if (company().shares) {
    const std::vector<int> shares =
        company().shares(company().timeline.at(begin.step()).micro_batches);
    begin.mutable_shares()->Add(shares.begin(), shares.end());
  }
  shares_.assign(begin.shares().begin(), begin.shares().end());
  company().epochs = begin.epoch().n();
  if (std::exchange(step_, begin.step()) != begin.step()) {
    begun_ = std::chrono::steady_clock::now();
  }
  at_step(begin.step());
  if (company().has_groups()) set_groups(begin);
  if (std::exchange(begins_again_, false)) {
    company().happened(event_of(wire::Event::STEP_BEGUN_AGAIN, begin.epoch()));
  }
  passes(Phase::begin, begin.step());
  waits_for("collected");
  runtime::ask(this, company().directory.find({Role::trainer}), company().deadlines.around_step(),
               begin_atom_v, Pb<wire::BeginStep>(begin))
      .then(
          [this, generation = wanted.generation](const Pb<wire::StepReport>& report) {
            if (company().has_others()) {
              use_.set_minimum(minimum_bytes(company(), company().timeline.at(step_), shares_, *report));
            }
            happened(heard::Collected{generation, *report});
          },
          on_failure(wanted.generation, "trainer"));
}

/// None where they cannot be had: then everything goes by messages.
void CoordinatorActor::set_groups(wire::BeginStep& begin) {
  const bool is_new = group_term_.is_new(begin.step());
  if (group_term_.has_given_up()) {
    return alarm_of_groups(begin.epoch(), "the step was begun in groups " +
                                              std::to_string(GroupTerm::most_beginnings) + " times");
  }
  try {
    const int each = is_new ? company().plan.optimizer_shards / company().placement.processes() : 0;
    if (is_new) groups_.clear();
    for (int number = 0; number < each; ++number) groups_.push_back(company().groups.new_id());
  } catch (const runtime::DataPlaneError& e) {
    group_term_.give_up();
    return alarm_of_groups(begin.epoch(), e.what());
  }
  begin.mutable_groups()->Assign(groups_.begin(), groups_.end());
  begin.set_groups_since(group_term_.since());
}

/// Once: it holds until the run's processes change.
void CoordinatorActor::alarm_of_groups(const wire::Epoch& epoch, const std::string& why) {
  if (std::exchange(has_alarmed_of_groups_, true)) return;
  wire::Event event = event_of(wire::Event::ALARM, epoch);
  event.set_text("optimizer shards go on by messages, not together: " + why);
  company().happened(std::move(event));
}

template <class Part, class... Ts>
void CoordinatorActor::ask_crews(const char* kind, Generation generation, const Ts&... values) {
  waits_for(kind);
  for (const auto& [address, crew] : company().directory.of(Role::crew)) {
    runtime::ask(this, crew, company().deadlines.around_crew(), values...)
        .then(
            [this, generation, process = address.index](const Pb<decltype(Part::part)>& part) {
              if constexpr (std::is_same_v<Part, heard::Applied>) use_.hear(*part);
              if constexpr (std::is_same_v<Part, heard::Prepared>) {
                if (part->damaged_size() > 0) return damaged(process, generation, *part);
              }
              happened(Part{generation, *part});
            },
            on_failure(generation, to_string(address)));
  }
}

void CoordinatorActor::play(const wanted::Prepare& wanted) {
  passes(Phase::prepare, wanted.begin.step());
  ask_crews<heard::Prepared>("prepared", wanted.generation, prepare_atom_v,
                             Pb<wire::BeginStep>(wanted.begin));
}

/// A process that holds a damaged state gets it again like one that has none, from those whose state is
/// whole; the step that has read it is begun again.
void CoordinatorActor::damaged(int process, Generation generation, const wire::Prepared& part) {
  const runtime::Block& block =
      company().arena.blocks()[static_cast<size_t>(part.damaged(0))];
  const std::string text =
      "in process " + std::to_string(process) + " memory has changed " +
      std::to_string(part.damaged_size()) + " of the blocks of state " +
      std::to_string(part.step() - 1) + ", first block " + std::to_string(block.index) + " of " +
      company().arena.spec(block.tensor).name;
  wire::Event event = event_of(wire::Event::STATE_DAMAGED, part.epoch());
  event.set_text(text);
  company().happened(std::move(event));
  std::set<int> empty = company().newcomers.get();
  empty.insert(process);
  const bool has_copies =
      company().has_others() && !company().placement.have_lost_all_copies(empty);
  if (has_copies) company().newcomers.add(process);
  happened(heard::Damaged{generation, has_copies ? text : text + "; no copies of them are left",
                          has_copies});
}

void CoordinatorActor::play(const wanted::Append& wanted) {
  wire::JournalEntry entry;
  *entry.mutable_commit() = wanted.record;
  waits_for("durable");
  runtime::ask(this, company().directory.find({Role::journal}), caf::infinite, append_atom_v,
               Pb<wire::JournalEntry>(std::move(entry)))
      .then([this, generation = wanted.generation] { happened(heard::Durable{generation}); },
            on_failure(wanted.generation, "journal"));
  passes(Phase::commit, wanted.record.step());  // whether it gets durable is open
}

void CoordinatorActor::play(const wanted::Apply& wanted) {
  if (company().units) {
    company().units->commit(runtime::unit_epoch(wanted.record.epoch(), wanted.record.step()));
    if (const auto writer = company().directory.find({Role::checkpointer})) {
      runtime::tell(writer, resume_atom_v);
    }
  }
  use_.begin();
  if (const std::set<int> newcomers = company().newcomers.get(); !newcomers.empty()) {
    group_term_.lost();
    return apply_without(newcomers, wanted);
  }
  wire::StepRecord record = wanted.record;
  record.set_is_together(company().has_groups() && group_term_.applies(record.step()));
  ask_crews<heard::Applied>("applied", wanted.generation, commit_atom_v, Pb<wire::StepRecord>(std::move(record)),
                            wanted.with_hashes);
  passes(Phase::apply, wanted.record.step());
}

void CoordinatorActor::play(const wanted::Announce& wanted) {
  wire::StepDone done = wanted.done;
  if (step_ == done.record().step()) {
    done.set_seconds(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count());
  }
  use_.add_to(done, company().has_others());
  if (step_ == done.record().step()) done.mutable_shares()->Add(shares_.begin(), shares_.end());
  runtime::tell(watcher_, Pb<wire::StepDone>(std::move(done)));
}

void CoordinatorActor::play(const wanted::JournalHash& wanted) {
  wire::JournalEntry entry;
  entry.mutable_applied()->set_step(wanted.step);
  entry.mutable_applied()->set_hash(wanted.hash);
  runtime::ask(this, company().directory.find({Role::journal}), caf::infinite, append_atom_v,
               Pb<wire::JournalEntry>(std::move(entry)))
      .then([this, step = wanted.step] { happened(heard::HashDurable{step}); },
            [](const caf::error&) {});  // it is told again when the journal's actor is back
}

void CoordinatorActor::gather(Generation generation, const wire::StepRecord& record,
                              std::function<void()> next) {
  if (!company().has_others()) return next();
  waits_for("gathered");
  ask_all<void>(this, company().directory.of(Role::crew), company().deadlines.around_states(),
                [](size_t) {},
                {[this, generation, next = std::move(next)] {
                   if (core_.is_under_way(generation)) next();
                 },
                 on_failure(generation, "crew")},
                gather_atom_v,
                Pb<wire::StepRecord>(record));
}

void CoordinatorActor::play(const wanted::Save& wanted) {
  gather(wanted.generation, wanted.record, [this, wanted] {
    waits_for("copied");
    runtime::ask(this, company().directory.find({Role::checkpointer}), company().deadlines.step,
                 save_atom_v, Pb<wire::StepRecord>(wanted.record))
        .then([this, generation = wanted.generation] { happened(heard::Copied{generation}); },
              on_failure(wanted.generation, "checkpointer"));
  });
  passes(Phase::checkpoint, wanted.record.step());
}

void CoordinatorActor::play(const wanted::Evaluate& wanted) {
  gather(wanted.generation, wanted.record, [this, wanted] {
    waits_for("evaluated");
    runtime::ask(this, company().directory.find({Role::evaluator}), company().deadlines.evaluation,
                 evaluate_atom_v, Pb<wire::StepRecord>(wanted.record))
        .then(
            [this, generation = wanted.generation](const Pb<wire::Evaluation>& evaluation) {
              happened(heard::Evaluated{generation, *evaluation});
            },
            on_failure(wanted.generation, "evaluator"));
  });
}

void CoordinatorActor::play(const wanted::Report& wanted) {
  runtime::tell(watcher_, Pb<wire::Evaluation>(wanted.evaluation));
}

void CoordinatorActor::play(const wanted::Wait& wanted) {
  waits_for("a restart");
  runtime::tell_later(this, wanted.time, resume_atom_v, wanted.generation);
}

void CoordinatorActor::play(const wanted::Note& wanted) {
  begins_again_ = true;
  wire::Epoch next;
  next.set_term(from_->term);
  next.set_n(company().epochs + 1);
  wire::Event event = event_of(wire::Event::EPOCH_BEGAN, next);
  event.set_text(wanted.text);
  company().happened(std::move(event));
}

wire::Event CoordinatorActor::event_of(wire::Event::Kind kind, const wire::Epoch& epoch) const {
  wire::Event event;
  event.set_kind(kind);
  event.set_step(step_);
  event.set_epoch_term(epoch.term());
  event.set_epoch_n(epoch.n());
  return event;
}

/// Whatever the end, the watcher has the reason: an orderly exit, after which nobody is started in
/// its place.
void CoordinatorActor::play(const wanted::End& wanted) {
  waits_for(nullptr);
  if (wanted.code == runtime::Errc::ok) return runtime::tell(watcher_, done_atom_v);
  runtime::tell(watcher_, runtime::make_error(wanted.code, wanted.text));
  quit(caf::exit_reason::user_shutdown);
}

uint64_t CoordinatorActor::state_hash(const wire::StepRecord& record,
                                      std::span<const uint64_t> hashes) const {
  const std::vector<float> bias(record.bias().begin(), record.bias().end());
  return runtime::state_hash(company().arena, {name_of(company().recipe.arithmetic), record.consumed_tokens(),
                                               bias, hashes});
}

}  // namespace troupe::actors
