// A supervisor written a second time, as simply as can be: it blocks, it recurses over lists, and
// it was made from OTP's rules and not from runtime/supervision. What the machine is held against.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/runtime/supervision/supervisor_model_children.h"

namespace troupe::runtime::tests {

class SupervisorModel : private ModelChildren {
 public:
  SupervisorModel(SupervisorFlags flags, std::vector<ChildSpec> specs, World& world, Instant until)
      : ModelChildren(world, until), flags_(flags) {
    for (ChildSpec& spec : checked(std::move(specs), flags)) {
      (simple() ? templates_ : kids_).push_back({.spec = std::move(spec)});
    }
  }

  /// Until the world has nothing more; false if that was in the middle of something.
  bool run() {
    try {
      init();
      for (;;) serve(receive());
    } catch (const OutOfTime&) {
      return !busy_;
    }
  }

  const Trace& trace() const { return trace_; }
  bool ended() const { return ended_; }
  std::vector<ChildStatus> children() const {
    std::vector<ChildStatus> out;
    for (auto kid = kids_.rbegin(); kid != kids_.rend(); ++kid) {
      out.push_back({kid->spec.id, kid->state, kid->state == ChildState::running ? kid->life : 0,
                     kid->spec.type});
    }
    return out;
  }

 private:
  bool simple() const { return flags_.strategy == Strategy::simple_one_for_one; }
  void init() {
    serve_begin(receive());
    std::string error;
    const int failed = start_all(kids_, 0, error);
    if (failed < 0) return;
    end(ExitReason::shutdown("child " + kids_[static_cast<size_t>(failed)].spec.id +
                             " failed to start: " + error));
  }
  void serve_begin(const Event& event) {
    if (!std::holds_alternative<event::Begin>(event)) throw std::logic_error("Begin comes first");
  }

  // Exits.
  void exited(size_t at, const ExitReason& reason) {
    const ChildSpec spec = kids_[at].spec;
    const bool again = spec.restart == Restart::permanent ||
                       (spec.restart == Restart::transient && !reason.is_orderly());
    if (again || !reason.is_orderly()) {
      log(LogKind::exited, spec.id, kids_[at].life, to_string(reason));
    }
    if (again) return flags_.backoff ? try_again(at) : restart(at);
    drop(at);
    if (!spec.significant) return;
    const bool others = std::any_of(kids_.begin(), kids_.end(), [](const Kid& kid) {
      return kid.spec.significant && kid.state != ChildState::undefined;
    });
    if (flags_.auto_shutdown == AutoShutdown::all_significant && others) return;
    log(LogKind::auto_shutdown, {}, 0);
    end(ExitReason::shutdown());
  }
  void drop(size_t at) {
    down(kids_[at]);
    if (simple() || kids_[at].spec.restart == Restart::temporary) {
      kids_.erase(kids_.begin() + static_cast<long>(at));
    }
  }
  void try_again(size_t at) {
    Kid& kid = kids_[at];
    milliseconds delay{0};
    if (flags_.backoff) {
      const auto [least, most] = *flags_.backoff;
      if (kid.wait.count() && kid.up && 2 * (world_.now() - *kid.up) >= least + most) {
        kid.wait = milliseconds(0);
      }
      kid.up.reset();
      kid.wait = kid.wait.count() ? std::min(2 * kid.wait, most) : least;
      delay = kid.wait;
    }
    kid.state = ChildState::restarting;
    kid.retry = arm(delay);
  }
  void restart(size_t at) {
    const auto second = std::chrono::floor<seconds>(world_.now());
    stamps_.push_back(second);
    const auto recent = std::count_if(stamps_.begin(), stamps_.end(), [&](seconds stamp) {
      return stamp >= second - flags_.period;
    });
    if (recent > flags_.intensity) {
      log(LogKind::intensity_exceeded, kids_[at].spec.id, kids_[at].life);
      drop(at);
      return end(ExitReason::shutdown());
    }
    log(LogKind::restart, kids_[at].spec.id, kids_[at].life);
    if (simple() || flags_.strategy == Strategy::one_for_one) return restart_one(at);
    const size_t first = flags_.strategy == Strategy::one_for_all ? 0 : at;
    down(kids_[at]);
    Kids rest(kids_.begin() + static_cast<long>(first), kids_.end());
    rest = terminate_all(std::move(rest));
    std::string error;
    const int failed = start_all(rest, 0, error);
    kids_.resize(first, Kid{});
    kids_.insert(kids_.end(), rest.begin(), rest.end());
    if (failed >= 0) try_again(first + static_cast<size_t>(failed));
  }
  void restart_one(size_t at) {
    const Started result = start(kids_[at]);
    if (result.error) return try_again(at);
    up(kids_[at], result.life);
    const bool temporary = kids_[at].spec.restart == Restart::temporary;
    if (!result.life && (simple() || temporary)) drop(at);
  }

  void end(ExitReason reason) {
    if (simple()) {
      end_dynamic();
    } else {
      terminate_all(kids_);
      for (size_t i = kids_.size(); i-- > 0;) drop(i);
    }
    emit(effect::End{reason});
    ended_ = true;
  }
  void end_dynamic() {
    const ChildSpec spec = templates_.front().spec;
    std::map<Incarnation, bool> left;
    for (const Kid& kid : kids_) {
      if (kid.state != ChildState::running) continue;
      emit(effect::Signal{kid.life, spec.shutdown == Shutdown::brutal_kill()});
      left[kid.life] = true;
    }
    const bool timed = spec.shutdown->kind == Shutdown::Kind::timed;
    TimerId deadline = timed && !left.empty() ? arm(spec.shutdown->timeout) : 0;
    std::map<ExitReason, int> wrong;
    const auto gone = [&](Incarnation life, const ExitReason& reason) {
      left.erase(life);
      if (!fine(spec, reason)) ++wrong[reason];
    };
    for (const auto& [life, lives] : std::map(left)) {
      if (auto reason = heard_of(life)) gone(life, *reason);
    }
    while (!left.empty()) {
      const Event event = next();
      auto* e = std::get_if<event::Exited>(&event);
      auto* fired = std::get_if<event::TimerFired>(&event);
      if (e && left.contains(e->child)) {
        gone(e->child, e->reason);
      } else if (fired && deadline && fired->timer == deadline) {
        for (const auto& [life, lives] : left) emit(effect::Signal{life, true});
      } else {
        mailbox_.push_back(event);
      }
    }
    for (const auto& [reason, count] : wrong) {
      log(LogKind::shutdown_error, spec.id, 0,
          std::to_string(count) + " children: " + to_string(reason));
    }
    std::erase_if(kids_, [](const Kid& kid) { return kid.state == ChildState::running; });
  }

  // What arrives.
  void serve(const Event& event) {
    auto* called = std::get_if<event::Called>(&event);
    if (called) return emit(effect::Reply{called->request, ended_ ? over() : answer(called->call)});
    if (ended_) return;
    if (auto* e = std::get_if<event::Exited>(&event)) {
      for (size_t i = 0; i < kids_.size(); ++i) {
        if (kids_[i].state == ChildState::running && kids_[i].life == e->child) {
          return exited(i, e->reason);
        }
      }
    } else if (auto* fired = std::get_if<event::TimerFired>(&event)) {
      for (size_t i = 0; i < kids_.size(); ++i) {
        if (kids_[i].state == ChildState::restarting && kids_[i].retry == fired->timer) {
          return restart(i);
        }
      }
    } else if (auto* stop = std::get_if<event::Stop>(&event)) {
      end(stop->reason);
    }
  }
  static Answer over() { return {.outcome = Outcome::ended}; }
  std::optional<size_t> find(const std::string& id) const {
    for (size_t i = 0; i < kids_.size(); ++i) {
      if (kids_[i].spec.id == id) return i;
    }
    return std::nullopt;
  }
  Answer answer(const Call& call) {
    if (std::holds_alternative<call::WhichChildren>(call)) return {.children = children()};
    if (std::holds_alternative<call::CountChildren>(call)) return {.counts = counts()};
    if (auto* c = std::get_if<call::StartDynamic>(&call)) return start_dynamic(c->argument);
    if (auto* c = std::get_if<call::TerminateDynamic>(&call)) return end_dynamic(c->child);
    if (auto* c = std::get_if<call::ChangeSpecs>(&call)) return change(c->specs);
    if (auto* c = std::get_if<call::GetSpec>(&call)) {
      const Kids& known = simple() ? templates_ : kids_;
      for (const Kid& kid : known) {
        if (kid.spec.id == c->id) return {.spec = kid.spec};
      }
      return {.outcome = Outcome::not_found};
    }
    if (simple()) return {.outcome = Outcome::simple_one_for_one};
    if (auto* c = std::get_if<call::StartChild>(&call)) return start_child(c->spec);
    if (auto* c = std::get_if<call::TerminateChild>(&call)) return terminate_child(c->id);
    if (auto* c = std::get_if<call::RestartChild>(&call)) return restart_child(c->id);
    return delete_child(std::get<call::DeleteChild>(call).id);
  }
  ChildCounts counts() const {
    ChildCounts out{.specs = simple() ? 1 : kids_.size()};
    for (const Kid& kid : kids_) {
      if (kid.state == ChildState::running) ++out.active;
      if (kid.spec.type == ChildType::worker) ++out.workers;
    }
    out.supervisors = kids_.size() - out.workers;
    return out;
  }
  Answer start_child(const ChildSpec& wanted) {
    Kid kid{.spec = checked(wanted, flags_.auto_shutdown)};
    if (const auto at = find(kid.spec.id)) {
      if (kids_[*at].state != ChildState::running) return {.outcome = Outcome::already_present};
      return {.outcome = Outcome::already_started, .child = kids_[*at].life};
    }
    return add(kid, kid.spec.restart != Restart::temporary);
  }
  Answer start_dynamic(const std::string& argument) {
    return add({.spec = templates_.front().spec, .argument = argument}, false);
  }
  Answer add(Kid kid, bool also_ignored) {
    const Started result = start(kid);
    if (result.error) return {.outcome = Outcome::start_failed, .text = *result.error};
    up(kid, result.life);
    if (result.life || also_ignored) kids_.push_back(kid);
    return {.child = result.life};
  }
  Answer terminate_child(const std::string& id) {
    const auto at = find(id);
    if (!at) return {.outcome = Outcome::not_found};
    terminate(kids_[*at]);
    drop(*at);
    return {};
  }
  Answer end_dynamic(Incarnation life) {
    for (size_t i = 0; i < kids_.size(); ++i) {
      if (kids_[i].life != life) continue;
      terminate(kids_[i]);
      drop(i);
      return {};
    }
    return {.outcome = Outcome::not_found};
  }
  Answer restart_child(const std::string& id) {
    const auto at = find(id);
    if (!at) return {.outcome = Outcome::not_found};
    if (kids_[*at].state == ChildState::running) return {.outcome = Outcome::running};
    if (kids_[*at].state == ChildState::restarting) return {.outcome = Outcome::restarting};
    const Started result = start(kids_[*at]);
    if (result.error) return {.outcome = Outcome::start_failed, .text = *result.error};
    up(kids_[*at], result.life);
    if (!result.life && kids_[*at].spec.restart == Restart::temporary) drop(*at);
    return {.child = result.life};
  }
  Answer delete_child(const std::string& id) {
    const auto at = find(id);
    if (!at) return {.outcome = Outcome::not_found};
    if (kids_[*at].state == ChildState::running) return {.outcome = Outcome::running};
    if (kids_[*at].state == ChildState::restarting) return {.outcome = Outcome::restarting};
    kids_.erase(kids_.begin() + static_cast<long>(*at));
    return {};
  }
  Answer change(const std::vector<ChildSpec>& wanted) {
    const auto specs = checked(wanted, flags_);
    if (simple()) {
      templates_.front().spec = specs.front();
      for (Kid& kid : kids_) kid.spec = specs.front();
      return {};
    }
    Kids fresh;
    for (const ChildSpec& spec : specs) {
      const auto at = find(spec.id);
      fresh.push_back(at ? kids_[*at] : Kid{.spec = spec});
      fresh.back().spec = spec;
      if (at) kids_.erase(kids_.begin() + static_cast<long>(*at));
    }
    fresh.insert(fresh.end(), kids_.begin(), kids_.end());
    kids_ = fresh;
    return {};
  }

  SupervisorFlags flags_;
  Kids kids_;
  Kids templates_;
  std::vector<seconds> stamps_;
  bool ended_ = false;
};

}  // namespace troupe::runtime::tests
