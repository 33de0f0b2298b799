// What the end of a child leads to.
#include <algorithm>

#include "runtime/supervision/supervisor_core.h"

namespace troupe::runtime {

void SupervisorCore::on_exit(Place place, const ExitReason& reason) {
  const ChildSpec spec = *children_.at(place).spec;
  const bool restarts = spec.restart == Restart::permanent ||
                        (spec.restart == Restart::transient && !reason.is_orderly());
  if (restarts || !reason.is_orderly()) {
    log(LogKind::exited, spec.id, children_.at(place).incarnation, to_string(reason));
  }
  if (!restarts) {
    forget(place);
    auto_shutdown(spec.significant);
  } else if (flags_.backoff) {
    try_again(place);
  } else {
    restart(place);
  }
}

void SupervisorCore::on_retry(TimerId timer) {
  if (const auto place = children_.find_restarting(timer)) restart(*place);
}

void SupervisorCore::auto_shutdown(bool was_significant) {
  if (!was_significant) return;
  if (flags_.auto_shutdown == AutoShutdown::all_significant) {
    for (const Place place : children_.from()) {
      const Child& child = children_.at(place);
      if (child.spec->significant && child.state != ChildState::undefined) return;
    }
  }
  log(LogKind::auto_shutdown, {}, 0);
  begin_end(ExitReason::shutdown());
}

void SupervisorCore::restart(Place place) {
  const std::string id = children_.at(place).spec->id;
  const Incarnation last = children_.at(place).incarnation;
  if (!window_.add(now_)) {
    log(LogKind::intensity_exceeded, id, last);
    forget(place);
    return begin_end(ExitReason::shutdown());
  }
  log(LogKind::restart, id, last);
  operation_ = Operation{.task = Task::restart};
  std::deque<Step>& steps = operation_->steps;
  if (is_simple() || flags_.strategy == Strategy::one_for_one) {
    steps.push_back({true, place});
    return;
  }
  children_.set_undefined(place);
  const bool rest = flags_.strategy == Strategy::rest_for_one;
  for (const Place each : children_.from(rest ? place : 0)) {
    steps.push_front({false, each});  // newest first
  }
  for (const Place each : children_.from(rest ? place : 0)) {
    if (children_.at(each).spec->restart != Restart::temporary) steps.push_back({true, each});
  }
}

/// With a delay of 0 this is OTP's message to itself: calls are served between attempts.
void SupervisorCore::try_again(Place place) {
  Child& child = children_.at(place);
  std::chrono::milliseconds delay{0};
  if (flags_.backoff) {
    if (!child.backoff) child.backoff = std::make_unique<Backoff>(*flags_.backoff);
    delay = child.backoff->next(now_);
  }
  children_.set_restarting(place, arm(delay));
}

void SupervisorCore::begin_end(ExitReason reason) {
  operation_ = Operation{.task = Task::end, .reason = std::move(reason)};
  if (is_simple()) return stop_all();
  for (const Place place : children_.from()) operation_->steps.push_front({false, place});
}

}  // namespace troupe::runtime
