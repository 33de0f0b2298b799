// Starting and stopping children, and waiting for it.
#include <algorithm>

#include "runtime/supervision/supervisor_core.h"

namespace troupe::runtime {

bool SupervisorCore::is_awaited(const Event& event) {
  const auto* exited = std::get_if<event::Exited>(&event);
  const auto* fired = std::get_if<event::TimerFired>(&event);
  const bool is_start_answer = std::holds_alternative<event::Started>(event) ||
                               std::holds_alternative<event::Ignored>(event) ||
                               std::holds_alternative<event::StartFailed>(event);
  if (is_start_answer) {  // one of another life is late
    if (wait_ == Wait::start) start_answered(event);
    return true;
  }
  if (wait_ == Wait::start && exited && exited->child == starting_) {
    start_answered(event::StartFailed{starting_, to_string(exited->reason)});
  } else if (wait_ == Wait::stop && exited &&
             exited->child == children_.at(waiting_for_).incarnation) {
    stopped(exited->reason);
  } else if (wait_ == Wait::all && exited && stopping_.contains(exited->child)) {
    one_of_all_stopped(exited->child, exited->reason);
  } else if (fired && deadline_ != 0 && fired->timer == deadline_) {
    deadline_passed();
  } else {
    return false;
  }
  return true;
}

void SupervisorCore::start(Place place) {
  const Child& child = children_.at(place);
  wait_ = Wait::start;
  waiting_for_ = place;
  starting_ = ++last_incarnation_;
  effects_.emplace_back(effect::Start{child.spec->id, child.spec->start,
                                   child.argument ? *child.argument : std::string(), starting_,
                                   child.spec->type});
}

void SupervisorCore::start_answered(const Event& event) {
  const Place place = waiting_for_;
  Child& child = children_.at(place);
  const std::string id = child.spec->id;
  const bool is_temporary = child.spec->restart == Restart::temporary;
  const auto* started = std::get_if<event::Started>(&event);
  const auto* ignored = std::get_if<event::Ignored>(&event);
  const auto* failed = std::get_if<event::StartFailed>(&event);
  if ((started && started->child != starting_) || (ignored && ignored->child != starting_) ||
      (failed && failed->child != starting_)) {
    return;  // late
  }
  wait_ = Wait::nothing;
  if (started) {
    children_.set_running(place, starting_);
    if (child.backoff) child.backoff->started(now_);
    if (is_temporary) child.argument.reset();  // never needed again
    operation_->started = starting_;
    log(LogKind::started, id, starting_);
  } else if (ignored) {
    log(LogKind::ignored, id, starting_);
    children_.set_undefined(place);
    // OTP keeps one that only a change of specifications has made temporary.
    if (is_temporary || is_simple()) children_.erase(place);
  } else {
    log(LogKind::start_failed, id, starting_, failed->text);
    start_failed(place, failed->text);
  }
}

void SupervisorCore::start_failed(Place place, const std::string& text) {
  const RequestId request = operation_->request;
  switch (operation_->task) {
    case Task::begin:
      return begin_end(ExitReason::shutdown("child " + children_.at(place).spec->id +
                                            " failed to start: " + text));
    case Task::restart:
      operation_.reset();
      return try_again(place);
    case Task::start_child:
      children_.erase(place);
      break;
    default:
      children_.set_undefined(place);
  }
  operation_.reset();
  reply(request, {.outcome = Outcome::start_failed, .text = text});
}

void SupervisorCore::stop(Place place) {
  const Child& child = children_.at(place);
  if (child.state != ChildState::running) return forget(place);
  wait_ = Wait::stop;
  waiting_for_ = place;
  if (const auto reason = take_waiting_exit(child.incarnation)) return stopped(*reason);
  const Shutdown shutdown = *child.spec->shutdown;
  const bool kill = shutdown.kind == Shutdown::Kind::brutal_kill;
  effects_.emplace_back(effect::Signal{child.incarnation, kill});
  if (shutdown.kind == Shutdown::Kind::timed) deadline_ = arm(shutdown.timeout);
}

void SupervisorCore::stopped(const ExitReason& reason) {
  const Child& child = children_.at(waiting_for_);
  if (!is_expected(*child.spec, reason)) {
    log(LogKind::shutdown_error, child.spec->id, child.incarnation, to_string(reason));
  }
  wait_ = Wait::nothing;
  deadline_ = 0;
  forget(waiting_for_);
}

bool SupervisorCore::is_expected(const ChildSpec& spec, const ExitReason& reason) const {
  if (spec.shutdown->kind == Shutdown::Kind::brutal_kill) {
    return reason == ExitReason::killed() ||
           (spec.restart != Restart::permanent && reason.is_orderly());
  }
  return reason == ExitReason::shutdown() ||
         (spec.restart != Restart::permanent && reason.is_orderly());
}

/// All at once, with one deadline: there may be thousands.
void SupervisorCore::stop_all() {
  const Shutdown shutdown = *template_->shutdown;
  for (const Place place : children_.from()) {
    const Child& child = children_.at(place);
    if (child.state != ChildState::running) continue;
    stopping_.insert(child.incarnation);
    effects_.emplace_back(
        effect::Signal{child.incarnation, shutdown.kind == Shutdown::Kind::brutal_kill});
  }
  if (stopping_.empty()) return;
  wait_ = Wait::all;
  if (shutdown.kind == Shutdown::Kind::timed) deadline_ = arm(shutdown.timeout);
  const std::set<Incarnation> all = stopping_;
  for (const Incarnation each : all) {
    if (const auto reason = take_waiting_exit(each)) one_of_all_stopped(each, *reason);
  }
}

void SupervisorCore::one_of_all_stopped(Incarnation child, const ExitReason& reason) {
  if (!is_expected(*template_, reason)) ++unexpected_[reason];
  stopping_.erase(child);
  children_.erase(*children_.find(child));
  if (!stopping_.empty()) return;
  for (const auto& [each, count] : unexpected_) {
    log(LogKind::shutdown_error, template_->id, 0,
        std::to_string(count) + " children: " + to_string(each));
  }
  wait_ = Wait::nothing;
  deadline_ = 0;
}

void SupervisorCore::deadline_passed() {
  deadline_ = 0;
  if (wait_ == Wait::stop) {
    effects_.emplace_back(effect::Signal{children_.at(waiting_for_).incarnation, true});
  }
  for (const Incarnation each : stopping_) effects_.emplace_back(effect::Signal{each, true});
}

void SupervisorCore::forget(Place place) {
  if (is_simple() || children_.at(place).spec->restart == Restart::temporary) {
    children_.erase(place);
  } else {
    children_.set_undefined(place);
  }
}

std::optional<ExitReason> SupervisorCore::take_waiting_exit(Incarnation child) {
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Event& event) {
    const auto* exited = std::get_if<event::Exited>(&event);
    return exited && exited->child == child;
  });
  if (found == waiting_.end()) return std::nullopt;
  const ExitReason reason = std::get<event::Exited>(*found).reason;
  waiting_.erase(found);
  return reason;
}

}  // namespace troupe::runtime
