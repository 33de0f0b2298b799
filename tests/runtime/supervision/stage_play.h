// A supervisor's core in a world of its own, and words to write scenarios with.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/supervision/simulation.h"

namespace troupe::runtime::tests {

inline ChildSpec permanent(std::string id) { return {.id = std::move(id), .start = "child"}; }
inline ChildSpec transient(std::string id) {
  return {.id = std::move(id), .start = "child", .restart = Restart::transient};
}
inline ChildSpec temporary(std::string id) {
  return {.id = std::move(id), .start = "child", .restart = Restart::temporary};
}

class StagePlay {
 public:
  StagePlay(SupervisorFlags flags, std::vector<ChildSpec> specs)
      : core_(flags, std::move(specs)),
        world_([this](const effect::Start& wanted) {
          return life_of ? life_of(wanted) : lives[wanted.id];
        }) {
    tell(event::Begin{});
  }

  /// By id, or by anything.
  std::map<std::string, Life> lives;
  LifeOf life_of;

  /// Plays the event and all that follows without time passing.
  void tell(Event event) {
    feed(std::move(event));
    run_until(world_.now());
  }
  void run_until(Instant until) {
    while (auto event = world_.next(until)) feed(std::move(*event));
    world_.wait_until(until);
  }
  void run_for(milliseconds span) { run_until(world_.now() + span); }
  void end(Incarnation child, ExitReason reason) {
    world_.end(child, std::move(reason));
    run_until(world_.now());
  }
  void end(const std::string& id, ExitReason reason) { end(living(id), std::move(reason)); }
  void kill(const std::string& id) { end(id, ExitReason::killed()); }

  /// The answer, or nothing so far.
  std::optional<Answer> ask(Call call) {
    tell(event::Called{++request_, std::move(call)});
    return answer(request_);
  }
  std::optional<Answer> answer(RequestId request) const {
    const auto found = answers_.find(request);
    return found == answers_.end() ? std::nullopt : std::optional(found->second);
  }
  RequestId last_request() const { return request_; }
  Outcome outcome(Call call) { return ask(std::move(call)).value().outcome; }

  ChildStatus child(const std::string& id) const {
    for (const ChildStatus& each : core_.which_children()) {
      if (each.id == id) return each;
    }
    return {"", ChildState::undefined, 0, ChildType::worker};
  }
  Incarnation living(const std::string& id) const { return child(id).incarnation; }
  bool knows(const std::string& id) const { return !child(id).id.empty(); }

  /// "start c1", "stop c1", "kill c1" since the last call.
  std::vector<std::string> moves() { return std::exchange(moves_, {}); }
  size_t logged(LogKind kind) const { return logs_.contains(kind) ? logs_.at(kind).size() : 0; }
  const std::vector<std::string>& log(LogKind kind) { return logs_[kind]; }

  std::optional<ExitReason> ended() const { return ended_; }
  Instant now() const { return world_.now(); }
  World& world() { return world_; }
  SupervisorCore& core() { return core_; }

 private:
  void feed(Event event) {
    for (const Effect& effect : core_.handle(world_.now(), std::move(event))) {
      note(effect);
      world_.play(effect);
    }
  }
  void note(const Effect& effect) {
    if (const auto* start = std::get_if<effect::Start>(&effect)) {
      names_[start->child] = start->id;
      moves_.push_back("start " + start->id);
    } else if (const auto* signal = std::get_if<effect::Signal>(&effect)) {
      moves_.push_back((signal->kill ? "kill " : "stop ") + names_[signal->child]);
    } else if (const auto* reply = std::get_if<effect::Reply>(&effect)) {
      EXPECT_FALSE(answers_.contains(reply->request)) << "two answers to one call";
      answers_[reply->request] = reply->answer;
    } else if (const auto* logged = std::get_if<effect::Log>(&effect)) {
      logs_[logged->kind].push_back(logged->text);
    } else if (const auto* end = std::get_if<effect::End>(&effect)) {
      EXPECT_FALSE(ended_) << "two ends";
      EXPECT_EQ(world_.living(), 0u) << "children outlive their supervisor";
      ended_ = end->reason;
    }
  }

  SupervisorCore core_;
  World world_;
  RequestId request_ = 0;
  std::map<RequestId, Answer> answers_;
  std::map<Incarnation, std::string> names_;
  std::map<LogKind, std::vector<std::string>> logs_;
  std::vector<std::string> moves_;
  std::optional<ExitReason> ended_;
};

}  // namespace troupe::runtime::tests
