// OTP's supervisor as a machine without thread, clock or actor: events in, effects out.
//
// It does one thing at a time, as OTP's does: while a child is starting or stopping, what else
// arrives waits in order. Only two things overtake: a child that is dead already is not asked to
// stop, and exits of lives that are over are dropped (law 6: late downs of an old incarnation).
// Source: Erlang/OTP, stdlib, supervisor. Not in OTP: back-off, and a limit to waiting calls.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "runtime/supervision/child_table.h"

namespace troupe::runtime {

class SupervisorCore {
 public:
  /// Throws SpecError.
  SupervisorCore(SupervisorFlags flags, std::vector<ChildSpec> specs);

  /// What follows from an event, in order. `now` never runs backwards. After End there is nothing
  /// but Outcome::ended to calls.
  std::vector<Effect> handle(Instant now, Event event);

  /// True once all children have been started; never if one of them could not be.
  bool has_begun() const { return has_begun_; }
  bool has_ended() const { return ended_; }
  /// Newest first.
  std::vector<ChildStatus> which_children() const;
  ChildCounts count_children() const;

 private:
  enum class Task : uint8_t { begin, start_child, terminate_child, restart_child, restart, end };
  struct Step {
    bool start;  // else stop
    Place place;
  };
  /// What is being done, and what of it is left.
  struct Operation {
    Task task;
    RequestId request = 0;
    ExitReason reason = {};  // of `end`
    std::deque<Step> steps = {};
    Incarnation started = 0;
  };
  enum class Wait : uint8_t { nothing, start, stop, all };

  void run();
  void dispatch(Event event);
  void perform(Step step);
  void finish();

  // supervisor_calls.cpp
  void on_call(RequestId request, const Call& call);
  Answer answer(const call::WhichChildren&) const;
  Answer answer(const call::CountChildren&) const;
  Answer answer(const call::GetSpec& wanted) const;
  Answer answer(const call::DeleteChild& wanted);
  Answer answer(const call::ChangeSpecs& wanted);
  std::optional<Answer> begin_call(RequestId request, const call::StartChild& wanted);
  std::optional<Answer> begin_call(RequestId request, const call::StartDynamic& wanted);
  std::optional<Answer> begin_call(RequestId request, const call::TerminateChild& wanted);
  std::optional<Answer> begin_call(RequestId request, const call::TerminateDynamic& wanted);
  std::optional<Answer> begin_call(RequestId request, const call::RestartChild& wanted);

  // supervisor_restart.cpp: what an exit leads to
  void on_exit(Place place, const ExitReason& reason);
  void on_retry(TimerId timer);
  void auto_shutdown(bool was_significant);
  void restart(Place place);
  void try_again(Place place);
  void begin_end(ExitReason reason);

  // supervisor_steps.cpp: one child at a time
  void start(Place place);
  void start_answered(const Event& event);
  void start_failed(Place place, const std::string& text);
  void stop(Place place);
  void stopped(const ExitReason& reason);
  void stop_all();
  void one_of_all_stopped(Incarnation child, const ExitReason& reason);
  void deadline_passed();
  void forget(Place place);
  std::optional<ExitReason> take_waiting_exit(Incarnation child);
  /// Whether a child that was asked to stop may end so.
  bool is_expected(const ChildSpec& spec, const ExitReason& reason) const;
  /// True if the event is what is waited for, and has been dealt with.
  bool is_awaited(const Event& event);

  bool is_simple() const { return flags_.strategy == Strategy::simple_one_for_one; }
  TimerId arm(std::chrono::milliseconds delay);
  void log(LogKind kind, const std::string& id, Incarnation child, std::string text = {});
  void reply(RequestId request, Answer answer);

  SupervisorFlags flags_;
  std::shared_ptr<const ChildSpec> template_;  // of simple_one_for_one
  ChildTable children_;
  RestartWindow window_;
  bool is_begun_ = false;   // the first event has come
  bool has_begun_ = false;  // and been done
  bool ended_ = false;
  Instant now_{0};
  Incarnation last_incarnation_ = 0;
  TimerId last_timer_ = 0;

  std::optional<Operation> operation_;
  Wait wait_ = Wait::nothing;
  Place waiting_for_ = 0;           // of Wait::start and stop
  Incarnation starting_ = 0;        // of Wait::start
  TimerId deadline_ = 0;            // of Wait::stop and all
  std::set<Incarnation> stopping_;  // of Wait::all
  std::map<ExitReason, size_t> unexpected_;

  std::deque<Event> waiting_;  // in order of arrival
  size_t waiting_calls_ = 0;
  std::vector<Effect> effects_;
};

}  // namespace troupe::runtime
