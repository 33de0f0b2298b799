// A supervisor among CAF's actors: plays what the core wants done. The rules are the core's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "runtime/caf_shim.h"
#include "runtime/supervision/supervisor_core.h"
#include "runtime/telemetry/cells.h"

namespace troupe::runtime {

/// A call to a supervisor and what it comes to; inside a process alone.
struct SupervisorCall {
  std::shared_ptr<const Call> call;
};
struct SupervisorAnswer {
  std::shared_ptr<const Answer> answer;
};

}  // namespace troupe::runtime

CAF_BEGIN_TYPE_ID_BLOCK(troupe_supervision, caf::first_custom_type_id + 60)
  CAF_ADD_ATOM(troupe_supervision, troupe::runtime, exited_atom)
  CAF_ADD_ATOM(troupe_supervision, troupe::runtime, timer_atom)
  CAF_ADD_ATOM(troupe_supervision, troupe::runtime, begun_atom)
  CAF_ADD_TYPE_ID(troupe_supervision, (troupe::runtime::SupervisorCall))
  CAF_ADD_TYPE_ID(troupe_supervision, (troupe::runtime::SupervisorAnswer))
CAF_END_TYPE_ID_BLOCK(troupe_supervision)

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::runtime::SupervisorCall)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::runtime::SupervisorAnswer)

namespace troupe::runtime {

using Supervisor = caf::typed_actor<
    caf::result<void>(exited_atom, uint64_t, uint8_t, std::string),  // child, its reason
    caf::result<void>(timer_atom, uint64_t),
    caf::result<void>(begun_atom),  // answered when all children have been started
    caf::result<SupervisorAnswer>(SupervisorCall)>;

/// How an actor's end reads in OTP's words.
ExitReason exit_reason_of(const caf::error& reason);

/// Starts and supervises children as its specifications say. A child that is a supervisor itself has
/// started when its own children have. Its own end is its parent's child's:
/// asked to shut down it ends its children first, newest first. Never kill one: CAF would end it
/// before its children.
class SupervisorActor : public Supervisor::base {
 public:
  struct Args {
    std::string name;  ///< for what it is said to have done
    SupervisorFlags flags;
    std::vector<ChildSpec> children;
    /// Spawns a child. An exception is a failed start; an empty handle is nothing to run. Called in
    /// the supervisor, again for every restart.
    std::function<caf::actor(const effect::Start&)> start;
    /// Hears what has happened, in the supervisor; may be empty.
    std::function<void(const std::string& supervisor, const effect::Log&)> log = {};
    Cell* cell = nullptr;  ///< null: none
  };
  SupervisorActor(caf::actor_config& config, Args args);
  const char* name() const override { return "supervisor"; }

  bool enqueue(caf::mailbox_element_ptr element, caf::execution_unit* unit) override;
  behavior_type make_behavior() override;
  void on_exit() override;

 private:
  void happened(Event event);
  void play(const effect::Start& start);
  void play(const effect::Signal& signal);
  void play(const effect::ArmTimer& timer);
  void play(const effect::Reply& reply);
  void play(const effect::Log& log);
  void play(const effect::End& end);

  const Args args_;
  SupervisorCore core_;
  std::deque<Event> events_;  // that playing has caused
  bool is_playing_ = false;
  std::map<Incarnation, caf::actor> children_;
  RequestId last_request_ = 0;
  std::map<RequestId, caf::typed_response_promise<SupervisorAnswer>> promises_;
  std::vector<caf::typed_response_promise<void>> until_begun_;
};

}  // namespace troupe::runtime
