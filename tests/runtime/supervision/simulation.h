// Children, timers and callers in virtual time: what a supervisor's effects are played against.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/supervision/supervisor_core.h"

namespace troupe::runtime::tests {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How one life of a child goes.
struct Life {
  enum class Start : uint8_t { ok, ignore, fail };
  Start start = Start::ok;
  milliseconds start_takes{0};
  std::optional<milliseconds> lasts = {};  ///< unset: until it is stopped
  ExitReason ends_by = ExitReason::failure("crash");
  std::optional<milliseconds> shutdown_takes = milliseconds(0);  ///< unset: it does not listen
  ExitReason shutdown_by = ExitReason::shutdown();
};
using LifeOf = std::function<Life(const effect::Start&)>;

/// The world of one supervisor. Events come in the order (time, order of scheduling).
class World {
 public:
  explicit World(LifeOf life_of) : life_of_(std::move(life_of)) {}

  Instant now() const { return now_; }
  void at(Instant when, Event event) { events_.emplace(std::pair(when, ++scheduled_), event); }
  /// At the time of the next event, which is taken; nothing if there is none up to `until`.
  std::optional<Event> next(Instant until = Instant::max());
  void wait_until(Instant when) { now_ = std::max(now_, when); }

  void play(const Effect& effect);
  bool lives(Incarnation child) const { return living_.contains(child); }
  size_t living() const { return living_.size(); }
  void end(Incarnation child, ExitReason reason) { at(now_, event::Exited{child, reason}); }

 private:
  void start(const effect::Start& wanted);

  LifeOf life_of_;
  Instant now_{0};
  uint64_t scheduled_ = 0;
  std::map<std::pair<Instant, uint64_t>, Event> events_;
  std::map<Incarnation, Life> living_;
};

inline std::optional<Event> World::next(Instant until) {
  while (!events_.empty() && events_.begin()->first.first <= until) {
    auto taken = events_.extract(events_.begin());
    now_ = taken.key().first;
    Event event = std::move(taken.mapped());
    // Of several ends of one life the first is the one that happens.
    const auto* exited = std::get_if<event::Exited>(&event);
    if (exited && living_.erase(exited->child) == 0) continue;
    return event;
  }
  return std::nullopt;
}

inline void World::start(const effect::Start& wanted) {
  const Life life = life_of_(wanted);
  const Instant answer = now_ + life.start_takes;
  switch (life.start) {
    case Life::Start::ignore: return at(answer, event::Ignored{wanted.child});
    case Life::Start::fail: return at(answer, event::StartFailed{wanted.child, "no start"});
    case Life::Start::ok: break;
  }
  living_[wanted.child] = life;
  at(answer, event::Started{wanted.child});
  if (life.lasts) at(answer + *life.lasts, event::Exited{wanted.child, life.ends_by});
}

inline void World::play(const Effect& effect) {
  if (const auto* wanted = std::get_if<effect::Start>(&effect)) start(*wanted);
  if (const auto* armed = std::get_if<effect::ArmTimer>(&effect)) {
    at(now_ + armed->delay, event::TimerFired{armed->timer});
  }
  const auto* signal = std::get_if<effect::Signal>(&effect);
  if (!signal || !living_.contains(signal->child)) return;
  const Life& life = living_.at(signal->child);
  if (signal->kill) {
    at(now_, event::Exited{signal->child, ExitReason::killed()});
  } else if (life.shutdown_takes) {
    at(now_ + *life.shutdown_takes, event::Exited{signal->child, life.shutdown_by});
  }
}

}  // namespace troupe::runtime::tests
