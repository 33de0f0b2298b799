#include "runtime/supervision/supervisor_core.h"

#include <utility>

namespace troupe::runtime {

SupervisorCore::SupervisorCore(SupervisorFlags flags, std::vector<ChildSpec> specs)
    : flags_(flags), window_(flags.intensity, flags.period) {
  check(flags_);
  specs = checked(std::move(specs), flags_);
  if (is_simple()) {
    template_ = std::make_shared<const ChildSpec>(std::move(specs.front()));
  } else {
    children_.change_specs(specs);
  }
}

std::vector<Effect> SupervisorCore::handle(Instant now, Event event) {
  now_ = now;
  const auto* called = std::get_if<event::Called>(&event);
  if (ended_) {
    if (called) reply(called->request, {.outcome = Outcome::ended});
  } else if (called && waiting_calls_ >= flags_.call_credit) {
    reply(called->request,
          {.outcome = Outcome::overloaded,
           .text = std::to_string(waiting_calls_) + " calls wait for the supervisor already"});
  } else if (!is_awaited(event)) {
    if (called) ++waiting_calls_;
    waiting_.push_back(std::move(event));
  }
  run();
  return std::exchange(effects_, {});
}

void SupervisorCore::run() {
  while (!ended_ && wait_ == Wait::nothing) {
    if (operation_ && operation_->steps.empty()) {
      finish();
    } else if (operation_) {
      const Step step = operation_->steps.front();
      operation_->steps.pop_front();
      perform(step);
    } else if (!waiting_.empty()) {
      Event event = std::move(waiting_.front());
      waiting_.pop_front();
      dispatch(std::move(event));
    } else {
      return;
    }
  }
}

void SupervisorCore::dispatch(Event event) {
  if (std::holds_alternative<event::Begin>(event)) {
    if (std::exchange(is_begun_, true)) return;
    operation_ = Operation{.task = Task::begin};
    for (const Place place : children_.from()) operation_->steps.push_back({true, place});
  } else if (const auto* exited = std::get_if<event::Exited>(&event)) {
    if (const Place* place = children_.find(exited->child)) on_exit(*place, exited->reason);
  } else if (const auto* fired = std::get_if<event::TimerFired>(&event)) {
    on_retry(fired->timer);
  } else if (auto* called = std::get_if<event::Called>(&event)) {
    --waiting_calls_;
    on_call(called->request, called->call);
  } else if (auto* stop = std::get_if<event::Stop>(&event)) {
    begin_end(std::move(stop->reason));
  }
}

void SupervisorCore::perform(Step step) {
  if (step.start) {
    start(step.place);
  } else {
    stop(step.place);
  }
}

void SupervisorCore::finish() {
  Operation done = std::move(*operation_);
  operation_.reset();
  switch (done.task) {
    case Task::begin:
      has_begun_ = true;
      return;
    case Task::restart:
      return;
    case Task::start_child:
    case Task::restart_child:
      return reply(done.request, {.child = done.started});
    case Task::terminate_child:
      return reply(done.request, {});
    case Task::end:
      effects_.emplace_back(effect::End{std::move(done.reason)});
      ended_ = true;
      for (const Event& event : std::exchange(waiting_, {})) {
        const auto* called = std::get_if<event::Called>(&event);
        if (called) reply(called->request, {.outcome = Outcome::ended});
      }
  }
}

TimerId SupervisorCore::arm(std::chrono::milliseconds delay) {
  effects_.emplace_back(effect::ArmTimer{++last_timer_, delay});
  return last_timer_;
}

void SupervisorCore::log(LogKind kind, const std::string& id, Incarnation child,
                         std::string text) {
  effects_.emplace_back(effect::Log{kind, id, child, std::move(text)});
}

void SupervisorCore::reply(RequestId request, Answer answer) {
  effects_.emplace_back(effect::Reply{request, std::move(answer)});
}

}  // namespace troupe::runtime
