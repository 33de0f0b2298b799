#include "actors/train/trainer.h"

namespace troupe::actors {
namespace {

const std::vector<Role> model_roles{Role::stage, Role::attention_shard, Role::router,
                                    Role::expert_shard};

}  // namespace

TrainerActor::behavior_type TrainerActor::make_behavior() {
  return {seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); })};
}

caf::result<TrainerActor::Report> TrainerActor::begin(const Pb<wire::BeginStep>& step) {
  if (attempt_) {
    attempt_->promise.deliver(
        runtime::make_error(runtime::Errc::stale_epoch, "another attempt has begun"));
  }
  attempt_.reset();
  at_step(step->step());
  passes(Phase::begin, step->step());
  attempt_ = std::make_shared<Attempt>();
  auto batches = std::make_shared<const std::vector<MicroBatch>>(company().batches(step->step()));
  const Denominators d = denominators(*batches, company().recipe.shape.mtp_layers);
  wire::BeginStep begin = *step;
  begin.set_main_targets(d.main);
  begin.mutable_mtp_targets()->Add(d.mtp.begin(), d.mtp.end());
  begin.set_sequences(d.sequences);
  attempt_->begin = Pb<wire::BeginStep>(std::move(begin));
  attempt_->tokens = {std::move(batches)};
  *attempt_->report.mutable_epoch() = step->epoch();
  attempt_->report.set_step(step->step());
  attempt_->promise = make_response_promise<Report>();
  const auto promise = attempt_->promise;
  // First every queue is empty, so nothing of an older epoch can add to a gradient; then gradients
  // are zeroed; then the stages start.
  ask_all<void>(attempt_, model_roles, &TrainerActor::clear, begin_atom_v, attempt_->begin);
  return promise;
}

void TrainerActor::clear(const AttemptPtr& attempt) {
  ask_all<void>(attempt, {Role::optimizer_shard}, &TrainerActor::start, begin_atom_v,
                attempt->begin);
}

void TrainerActor::start(const AttemptPtr& attempt) {
  passes(Phase::forward, attempt->begin->step());
  ask_all<Report>(attempt, {Role::stage}, &TrainerActor::gather, start_atom_v, attempt->tokens);
}

/// The stages have seen every answer, so every weight gradient is in its queue: when the queues
/// are empty the step's sums are complete.
void TrainerActor::gather(const AttemptPtr& attempt) {
  passes(Phase::prepare, attempt->begin->step());
  ask_all<Report>(attempt, {Role::attention_shard, Role::router, Role::expert_shard},
                  &TrainerActor::finish, report_atom_v, attempt->begin->step());
}

void TrainerActor::finish(const AttemptPtr& attempt) {
  attempt->promise.deliver(Report(std::move(attempt->report)));
  if (attempt == attempt_) attempt_.reset();
}

template <class Result, class... Ts>
void TrainerActor::ask_all(const AttemptPtr& attempt, const std::vector<Role>& roles,
                           void (TrainerActor::*next)(const AttemptPtr&), const Ts&... values) {
  std::vector<std::pair<Address, caf::actor>> actors;
  for (const Role role : roles) {
    for (auto& actor : company().directory.of(role)) actors.push_back(std::move(actor));
  }
  auto missing = std::make_shared<size_t>(actors.size());
  waits_for("answers", actors.size());
  for (const auto& [address, actor] : actors) {
    auto request = runtime::ask(this, actor, company().deadlines.step, values...);
    auto on_error = [this, attempt, whom = address](const caf::error& error) {
      failed(attempt, whom, error);
    };
    if constexpr (std::is_void_v<Result>) {
      request.then([this, attempt, missing, next] { answered(attempt, missing, next); }, on_error);
    } else {
      request.then(
          [this, attempt, missing, next](const Report& part) {
            const uint32_t faults = attempt->report.faults() | part->faults();
            attempt->report.MergeFrom(*part);
            attempt->report.set_faults(faults);
            answered(attempt, missing, next);
          },
          on_error);
    }
  }
  if (actors.empty()) (this->*next)(attempt);
}

void TrainerActor::answered(const AttemptPtr& attempt, const std::shared_ptr<size_t>& missing,
                            void (TrainerActor::*next)(const AttemptPtr&)) {
  if (attempt == attempt_) waits_for(*missing > 1 ? "answers" : nullptr, *missing - 1);
  if (--*missing == 0 && attempt == attempt_) (this->*next)(attempt);
}

/// Whoever does not answer in time is named; whoever has died is started again and then told of.
void TrainerActor::failed(const AttemptPtr& attempt, const Address& whom,
                          const caf::error& error) {
  if (attempt != attempt_) return;
  if (error == caf::sec::request_timeout) {
    attempt->promise.deliver(runtime::make_error(
        runtime::Errc::late, to_string(whom) + " has not answered within " +
                                 std::to_string(company().deadlines.step.count()) + " ms (cluster.step_deadline)"));
  } else {
    attempt->promise.deliver(error);
  }
  attempt_.reset();
}

}  // namespace troupe::actors
