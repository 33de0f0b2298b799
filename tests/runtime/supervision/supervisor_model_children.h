// The part of the model that deals with single children and lists of them.
#pragma once

#include <list>
#include <utility>
#include <vector>

#include "tests/runtime/supervision/simulation.h"

namespace troupe::runtime::tests {

using Trace = std::vector<std::pair<Instant, Effect>>;

class ModelChildren {
 protected:
  struct Kid {
    ChildSpec spec;
    std::string argument = {};
    ChildState state = ChildState::undefined;
    Incarnation life = 0;
    TimerId retry = 0;
    milliseconds wait{0};
    std::optional<Instant> up = {};
  };
  using Kids = std::vector<Kid>;
  struct OutOfTime {};

  ModelChildren(World& world, Instant until) : world_(world), until_(until) {}

  void emit(Effect effect) {
    trace_.emplace_back(world_.now(), effect);
    world_.play(effect);
  }
  void log(LogKind kind, const std::string& id, Incarnation life, std::string text = {}) {
    emit(effect::Log{kind, id, life, std::move(text)});
  }
  Event next() {
    auto event = world_.next(until_);
    if (!event) throw OutOfTime{};
    return *event;
  }
  Event receive() {
    busy_ = false;
    Event event = mailbox_.empty() ? next() : mailbox_.front();
    if (!mailbox_.empty()) mailbox_.pop_front();
    busy_ = true;
    return event;
  }

  // One child.
  struct Started {
    Incarnation life = 0;
    std::optional<std::string> error = {};
  };
  Started start(const Kid& kid) {
    const Incarnation life = ++lives_;
    emit(effect::Start{kid.spec.id, kid.spec.start, kid.argument, life, kid.spec.type});
    const Started result = await_start(life);
    if (result.error) log(LogKind::start_failed, kid.spec.id, life, *result.error);
    if (!result.error) {
      log(result.life ? LogKind::started : LogKind::ignored, kid.spec.id, life);
    }
    return result;
  }
  Started await_start(Incarnation life) {
    const Event event = next();
    if (auto* e = std::get_if<event::Started>(&event); e && e->child == life) return {life};
    if (auto* e = std::get_if<event::Ignored>(&event); e && e->child == life) return {};
    if (auto* e = std::get_if<event::StartFailed>(&event); e && e->child == life) {
      return {0, e->text};
    }
    if (auto* e = std::get_if<event::Exited>(&event); e && e->child == life) {
      return {0, to_string(e->reason)};
    }
    mailbox_.push_back(event);
    return await_start(life);
  }
  void up(Kid& kid, Incarnation life) {
    kid.state = life ? ChildState::running : ChildState::undefined;
    kid.life = life;
    kid.retry = 0;
    if (life) kid.up = world_.now();
    if (life && kid.spec.restart == Restart::temporary) kid.argument.clear();  // not kept
  }
  static void down(Kid& kid) {
    kid.state = ChildState::undefined;
    kid.life = kid.retry = 0;
  }
  std::optional<ExitReason> heard_of(Incarnation life) {
    for (auto it = mailbox_.begin(); it != mailbox_.end(); ++it) {
      auto* exited = std::get_if<event::Exited>(&*it);
      if (!exited || exited->child != life) continue;
      const ExitReason reason = exited->reason;
      mailbox_.erase(it);
      return reason;
    }
    return std::nullopt;
  }
  ExitReason await_exit(Incarnation life, TimerId deadline) {
    const Event event = next();
    if (auto* e = std::get_if<event::Exited>(&event); e && e->child == life) return e->reason;
    auto* fired = std::get_if<event::TimerFired>(&event);
    if (fired && deadline && fired->timer == deadline) {
      emit(effect::Signal{life, true});
      deadline = 0;
    } else {
      mailbox_.push_back(event);
    }
    return await_exit(life, deadline);
  }
  TimerId arm(milliseconds delay) {
    emit(effect::ArmTimer{++timers_, delay});
    return timers_;
  }
  static bool fine(const ChildSpec& spec, const ExitReason& reason) {
    if (spec.restart != Restart::permanent && reason.is_orderly()) return true;
    return reason == (spec.shutdown == Shutdown::brutal_kill() ? ExitReason::killed()
                                                               : ExitReason::shutdown());
  }
  void terminate(const Kid& kid) {
    if (kid.state != ChildState::running) return;
    auto reason = heard_of(kid.life);
    if (!reason) {
      emit(effect::Signal{kid.life, kid.spec.shutdown == Shutdown::brutal_kill()});
      const bool timed = kid.spec.shutdown->kind == Shutdown::Kind::timed;
      reason = await_exit(kid.life, timed ? arm(kid.spec.shutdown->timeout) : 0);
    }
    if (!fine(kid.spec, *reason)) {
      log(LogKind::shutdown_error, kid.spec.id, kid.life, to_string(*reason));
    }
  }

  // Lists of children, in start order.
  Kids terminate_all(Kids kids) {
    if (kids.empty()) return {};
    Kid last = kids.back();
    kids.pop_back();
    terminate(last);
    Kids left = terminate_all(std::move(kids));
    down(last);
    if (last.spec.restart != Restart::temporary) left.push_back(last);
    return left;
  }
  /// The index of the first that did not start, or -1.
  int start_all(Kids& kids, size_t first, std::string& error) {
    if (first == kids.size()) return -1;
    const Started result = start(kids[first]);
    if (result.error) {
      error = *result.error;
      return static_cast<int>(first);
    }
    up(kids[first], result.life);
    const bool gone = !result.life && kids[first].spec.restart == Restart::temporary;
    if (gone) kids.erase(kids.begin() + static_cast<long>(first));
    return start_all(kids, gone ? first : first + 1, error);
  }

  World& world_;
  Instant until_;
  std::list<Event> mailbox_;
  Incarnation lives_ = 0;
  TimerId timers_ = 0;
  bool busy_ = false;
  Trace trace_;
};

}  // namespace troupe::runtime::tests
