// What a supervisor's core hears and what it wants done. Plain data: whoever plays the effects
// (an actor, a process tree, a test) decides what a child is.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/supervision/child_spec.h"
#include "runtime/supervision/exit_reason.h"

namespace troupe::runtime {

/// Names one life of one child, never used again under its supervisor; 0 is nobody.
using Incarnation = uint64_t;
using TimerId = uint64_t;
using RequestId = uint64_t;

namespace call {
struct StartChild { ChildSpec spec; };
struct StartDynamic { std::string argument; };  ///< simple_one_for_one: one more child
struct TerminateChild { std::string id; };
struct TerminateDynamic { Incarnation child; };
struct RestartChild { std::string id; };
struct DeleteChild { std::string id; };
struct WhichChildren {};
struct CountChildren {};
struct GetSpec { std::string id; };
/// Children that are known keep running and get the new specification, new ones are not started,
/// those that are missing here stay, behind the others.
struct ChangeSpecs { std::vector<ChildSpec> specs; };
}  // namespace call
using Call = std::variant<call::StartChild, call::StartDynamic, call::TerminateChild,
                          call::TerminateDynamic, call::RestartChild, call::DeleteChild,
                          call::WhichChildren, call::CountChildren, call::GetSpec,
                          call::ChangeSpecs>;

namespace event {
struct Begin {};  ///< the first one: start the children
struct Started { Incarnation child; };
struct Ignored { Incarnation child; };  ///< there is nothing to run, and that is no failure
struct StartFailed { Incarnation child; std::string text; };
struct Exited { Incarnation child; ExitReason reason; };
struct TimerFired { TimerId timer; };
struct Called { RequestId request; Call call; };
struct Stop { ExitReason reason; };  ///< end all children, newest first, then the supervisor
}  // namespace event
using Event = std::variant<event::Begin, event::Started, event::Ignored, event::StartFailed,
                           event::Exited, event::TimerFired, event::Called, event::Stop>;

enum class Outcome : uint8_t {
  ok,
  already_started,
  already_present,     ///< specified, but not running
  running,
  restarting,
  not_found,
  simple_one_for_one,  ///< the call is not for this strategy
  bad_spec,
  start_failed,
  overloaded,          ///< more calls wait than SupervisorFlags::call_credit
  ended,               ///< the supervisor has ended
};

enum class ChildState : uint8_t { undefined, running, restarting };

struct ChildStatus {
  std::string id;
  ChildState state;
  Incarnation incarnation;  ///< 0 unless running
  ChildType type;
  bool operator==(const ChildStatus&) const = default;
};

struct ChildCounts {
  size_t specs = 0, active = 0, supervisors = 0, workers = 0;
  bool operator==(const ChildCounts&) const = default;
};

/// What a call comes to; the fields that it does not speak of stay empty.
struct Answer {
  Outcome outcome = Outcome::ok;
  Incarnation child = 0;                   ///< of the calls that start one; 0: ignored
  std::string text = {};                   ///< what is wrong
  std::vector<ChildStatus> children = {};  ///< newest first
  ChildCounts counts = {};
  std::optional<ChildSpec> spec = {};
  bool operator==(const Answer&) const = default;
};

enum class LogKind : uint8_t {
  started,
  ignored,
  exited,              ///< a child ended by itself, and not as it may
  start_failed,
  restart,             ///< a restart was counted
  shutdown_error,      ///< a child ended otherwise than it was asked to
  intensity_exceeded,
  auto_shutdown,
};

namespace effect {
/// Answer with Started, Ignored or StartFailed. Nothing else is started meanwhile.
struct Start {
  std::string id, start, argument;
  Incarnation child;
  ChildType type;
  bool operator==(const Start&) const = default;
};
/// Ask a child to shut down, or kill it. It answers by Exited, if it is dead already too.
struct Signal {
  Incarnation child;
  bool kill;
  bool operator==(const Signal&) const = default;
};
/// Come back with TimerFired. With delay 0: behind what already waits in the mailbox.
struct ArmTimer {
  TimerId timer;
  std::chrono::milliseconds delay;
  bool operator==(const ArmTimer&) const = default;
};
struct Reply {
  RequestId request;
  Answer answer;
  bool operator==(const Reply&) const = default;
};
struct Log {
  LogKind kind;
  std::string id;
  Incarnation child;
  std::string text;
  bool operator==(const Log&) const = default;
};
/// The supervisor ends; all its children have.
struct End {
  ExitReason reason;
  bool operator==(const End&) const = default;
};
}  // namespace effect
using Effect = std::variant<effect::Start, effect::Signal, effect::ArmTimer, effect::Reply,
                            effect::Log, effect::End>;

}  // namespace troupe::runtime
