#include "actors/train/crew.h"

#include "kernels/busy_time.h"

namespace troupe::actors {

CrewActor::behavior_type CrewActor::make_behavior() {
  return {
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("start",
           [this](start_atom, const Pb<wire::BeginStep>& step, const StepTokens& tokens) {
             return start(step, tokens);
           }),
      seen("prepare",
           [this](prepare_atom, const Pb<wire::BeginStep>& step) { return prepare(step); }),
      seen("commit",
           [this](commit_atom, const Pb<wire::StepRecord>& record, bool with_hashes) {
             return commit(record, with_hashes);
           }),
      seen("gather",
           [this](gather_atom atom, const Pb<wire::StepRecord>& record) -> caf::result<void> {
             if (caf::error lacks = lacks_state("gather", record->step())) return lacks;
             return pass_on([] {}, atom, record);
           }),
      seen("restore",
           [this](restore_atom, const Pb<wire::StepRecord>& record, int32_t process) {
             return restore(record, process);
           }),
      seen("scatter",
           [this](scatter_atom atom, const Pb<wire::StepRecord>& record) {
             return pass_on([this] { company().has_state = true; }, atom, record);
           }),
  };
}

Cast CrewActor::cast_of(std::initializer_list<Role> roles) const {
  Cast cast;
  for (const Role role : roles) {
    for (auto& actor : company().directory.of(role)) cast.push_back(std::move(actor));
  }
  return cast;
}

std::function<void(size_t)> CrewActor::waits_for_answers() {
  return [this](size_t left) { waits_for(left > 0 ? "answers" : nullptr, left); };
}

/// Nothing is made of a state that has yet to come: none is there to tell it from one.
caf::error CrewActor::lacks_state(const char* what_for, uint64_t step) const {
  if (company().has_state) return {};
  return runtime::make_error(runtime::Errc::wrong_step, to_string(place()) + " has no state yet, wanted one to " +
                                                            what_for + " step " + std::to_string(step));
}

/// First every queue is empty, so nothing of an older epoch can add to a gradient; then gradients
/// are cleared.
caf::result<void> CrewActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error lacks = lacks_state("begin", step->step())) return lacks;
  at_step(step->step());
  if (!company().is_first()) company().deadlines.times.told(StepTimes::Ms(step->usual_step_ms()));
  company().deadlines.times.begun(step->step(), std::chrono::steady_clock::now());
  passes(Phase::begin, step->step());
  const auto promise = promised(make_response_promise<void>());
  const auto failed = [promise](const caf::error& error) { promise->deliver(error); };
  const auto clear = [this, promise, failed, step] {
    unit_work_begun_ = kernels::busy_time();
    ask_all<void>(this, cast_of({Role::optimizer_shard}), company().deadlines.part(),
                  waits_for_answers(),
                  {[promise] { promise->deliver(); }, failed}, begin_atom_v, step);
  };
  ask_all<void>(this,
                cast_of({Role::stage, Role::attention_shard, Role::router, Role::expert_shard}),
                company().deadlines.part(), waits_for_answers(), {clear, failed}, begin_atom_v, step);
  return *promise;
}

namespace {

void merge(wire::StepReport& report, const wire::StepReport& part) {
  const uint32_t faults = report.faults() | part.faults();
  report.MergeFrom(part);
  report.set_faults(faults);
}

}  // namespace

/// When the stages have seen every answer, every weight gradient is in its queue: when the queues
/// are empty, this process's sums are complete.
caf::result<Pb<wire::StepReport>> CrewActor::start(const Pb<wire::BeginStep>& step,
                                                   const StepTokens& tokens) {
  passes(Phase::forward, step->step());
  const auto promise = promised(make_response_promise<Pb<wire::StepReport>>());
  auto report = std::make_shared<wire::StepReport>();
  const auto failed = [promise](const caf::error& error) { promise->deliver(error); };
  const auto answered = [report](const Pb<wire::StepReport>& part) { merge(*report, *part); };
  const auto gather = [this, promise, failed, answered, report, step] {
    ask_all<Pb<wire::StepReport>>(
        this, cast_of({Role::attention_shard, Role::router, Role::expert_shard}),
        company().deadlines.part(), waits_for_answers(),
        {answered,
         [promise, report] { promise->deliver(Pb<wire::StepReport>(*report)); }, failed},
        report_atom_v, step->step());
  };
  ask_all<Pb<wire::StepReport>>(this, cast_of({Role::stage}), company().deadlines.part(),
                                waits_for_answers(), {answered, gather, failed}, start_atom_v,
                                tokens);
  return *promise;
}

/// Experts work for routers of other processes too, which may have come behind the report of this one's
/// start: their weight gradients are in the sums when their queues are empty now, for every stage of the
/// run has seen all its answers.
caf::result<Pb<wire::Prepared>> CrewActor::prepare(const Pb<wire::BeginStep>& step) {
  passes(Phase::prepare, step->step());
  const auto promise = promised(make_response_promise<Pb<wire::Prepared>>());
  auto prepared = std::make_shared<wire::Prepared>();
  const auto failed = [promise](const caf::error& error) { promise->deliver(error); };
  const auto take_norms = [this, promise, prepared, step, failed] {
    unit_work_ += kernels::busy_time() - unit_work_begun_;
    ask_all<Pb<wire::Prepared>>(
        this, cast_of({Role::optimizer_shard}), company().deadlines.part(), waits_for_answers(),
        {[prepared](const Pb<wire::Prepared>& part) {
           const uint32_t faults = prepared->faults() | part->faults();
           prepared->MergeFrom(*part);
           prepared->set_faults(faults);
         },
         [this, promise, prepared, step] {
           company().prepared.set(step->epoch(), step->step());
           promise->deliver(Pb<wire::Prepared>(std::move(*prepared)));
         },
         failed},
        prepare_atom_v, step);
  };
  if (!company().has_others()) {
    take_norms();
    return *promise;
  }
  ask_all<Pb<wire::StepReport>>(this, cast_of({Role::expert_shard}), company().deadlines.part(),
                                waits_for_answers(),
                                {[](const Pb<wire::StepReport>&) {}, take_norms, failed},
                                report_atom_v, step->step());
  return *promise;
}

caf::result<Pb<wire::Applied>> CrewActor::commit(const Pb<wire::StepRecord>& record,
                                                 bool with_hashes) {
  if (caf::error lacks = lacks_state("apply", record->step())) return lacks;
  at_step(record->step());
  passes(Phase::commit, record->step());
  const auto promise = promised(make_response_promise<Pb<wire::Applied>>());
  auto applied = std::make_shared<wire::Applied>();
  ask_all<Pb<wire::Applied>>(
      this, cast_of({Role::optimizer_shard}), company().deadlines.part(), waits_for_answers(),
      {[applied](const Pb<wire::Applied>& part) { applied->MergeFrom(*part); },
       [this, promise, applied, step = record->step()] {
         company().deadlines.times.done(step, std::chrono::steady_clock::now());
         if (company().trace && company().trace->committed(static_cast<int64_t>(step))) company().write_trace();
         if (company().has_others()) add_use(*applied);
         promise->deliver(Pb<wire::Applied>(std::move(*applied)));
       },
       [promise](const caf::error& error) { promise->deliver(error); }},
      commit_atom_v, record, with_hashes);
  return *promise;
}

void CrewActor::add_use(wire::Applied& applied) {
  using Seconds = std::chrono::duration<double>;
  wire::WireUse& wire = *applied.add_wire() = company().office.wire_use();
  wire.set_wire_bytes(wire.wire_bytes() + company().group_bytes);
  wire::ProcessWork& work = *applied.add_work();
  work.set_process(company().process);
  work.set_busy_seconds(Seconds(kernels::busy_time()).count());
  work.set_unit_seconds(Seconds(unit_work_).count());
}

caf::result<void> CrewActor::restore(const Pb<wire::StepRecord>& record, int32_t process) {
  const bool is_own = process == company().process;
  return pass_on(
      [this, is_own] {
        if (is_own) company().has_state = true;
      },
      restore_atom_v, record, process);
}

template <class Atom, class... Ts>
caf::result<void> CrewActor::pass_on(std::function<void()> when_done, Atom atom,
                                     const Pb<wire::StepRecord>& record, const Ts&... more) {
  const auto promise = promised(make_response_promise<void>());
  ask_all<void>(this, cast_of({Role::optimizer_shard}), company().deadlines.step,
                waits_for_answers(),
                {[promise, when_done = std::move(when_done)] {
                   when_done();
                   promise->deliver();
                 },
                 [promise](const caf::error& error) { promise->deliver(error); }},
                atom, record, more...);
  return *promise;
}

}  // namespace troupe::actors
