#include "actors/train/trainer.h"

namespace troupe::actors {

TrainerActor::behavior_type TrainerActor::make_behavior() {
  return {seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); })};
}

/// An attempt that another begin has replaced stops quietly.
caf::result<TrainerActor::Report> TrainerActor::begin(const Pb<wire::BeginStep>& step) {
  if (attempt_) {
    attempt_->promise.deliver(
        runtime::make_error(runtime::Errc::stale_epoch, "another attempt has begun"));
  }
  attempt_.reset();
  at_step(step->step());
  passes(Phase::begin, step->step());
  attempt_ = std::make_shared<Attempt>();
  attempt_->tokens =
      std::make_shared<const std::vector<MicroBatch>>(company().batches(step->step()));
  const Denominators d = denominators(*attempt_->tokens, company().recipe.shape.mtp_layers);
  wire::BeginStep begin = *step;
  begin.set_main_targets(d.main);
  begin.mutable_mtp_targets()->Add(d.mtp.begin(), d.mtp.end());
  begin.set_sequences(d.sequences);
  begin.set_usual_step_ms(company().deadlines.times.to_tell().count());
  attempt_->begin = Pb<wire::BeginStep>(std::move(begin));
  *attempt_->report.mutable_epoch() = step->epoch();
  attempt_->report.set_step(step->step());
  attempt_->promise = make_response_promise<Report>();
  const auto promise = attempt_->promise;
  const auto next = [this, attempt = attempt_] {
    if (attempt == attempt_) start(attempt);
  };
  ask_all<void>(this, company().directory.of(Role::crew), company().deadlines.around_crew(),
                waits_for_answers(attempt_), {next, failed(attempt_)}, begin_atom_v,
                attempt_->begin);
  return promise;
}

/// Everybody has begun: nobody can meet a message of an epoch that it does not know yet.
void TrainerActor::start(const AttemptPtr& attempt) {
  passes(Phase::forward, attempt->begin->step());
  const auto answered = [attempt](const Report& part) {
    const uint32_t faults = attempt->report.faults() | part->faults();
    attempt->report.MergeFrom(*part);
    attempt->report.set_faults(faults);
  };
  const auto next = [this, attempt] {
    if (attempt == attempt_) gather(attempt);
  };
  ask_all<Report>(this, company().directory.of(Role::crew), company().deadlines.around_crew(),
                  waits_for_answers(attempt), {answered, next, failed(attempt)}, start_atom_v,
                  attempt->begin, StepTokens{attempt->tokens});
}

void TrainerActor::gather(const AttemptPtr& attempt) {
  passes(Phase::prepare, attempt->begin->step());
  attempt->promise.deliver(Report(std::move(attempt->report)));
  attempt_.reset();
}

std::function<void(const caf::error&)> TrainerActor::failed(const AttemptPtr& attempt) {
  return [this, attempt](const caf::error& error) {
    if (attempt != attempt_) return;
    attempt->promise.deliver(error);
    attempt_.reset();
  };
}

std::function<void(size_t)> TrainerActor::waits_for_answers(const AttemptPtr& attempt) {
  return [this, attempt](size_t left) {
    if (attempt == attempt_) waits_for(left > 0 ? "answers" : nullptr, left);
  };
}

}  // namespace troupe::actors
