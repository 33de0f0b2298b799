// The differences between CAF 0.18.7 and 1.x, all in one place. Code elsewhere keeps to what both
// compile: class-based actors, one-way sends and requests with deadlines, `.then`, no `.await`
// (which in 0.18.7 makes an actor deaf to everything else, its exit included).
#pragma once

#include <caf/all.hpp>
#include <chrono>
#include <utility>

#if defined(CAF_VERSION_MAJOR) && CAF_VERSION_MAJOR >= 1
#define TROUPE_CAF_HAS_MAIL 1
#else
#define TROUPE_CAF_HAS_MAIL 0
#endif

namespace troupe::runtime {

/// Sends a message, from any thread.
template <class Handle, class... Ts>
void tell(const Handle& to, Ts&&... values) {
#if TROUPE_CAF_HAS_MAIL
  caf::anon_mail(std::forward<Ts>(values)...).send(to);
#else
  caf::anon_send(to, std::forward<Ts>(values)...);
#endif
}

/// Sends a message that has been made already.
inline void tell_message(const caf::actor& to, caf::message message) {
#if TROUPE_CAF_HAS_MAIL
  caf::anon_mail(std::move(message)).send(to);
#else
  caf::anon_send(to, std::move(message));
#endif
}

/// True for what a handler of the actor's own will take: no answer, and nothing of CAF's own.
inline bool is_for_handler(const caf::mailbox_element& element) {
  return !element.mid.is_response() && !element.payload.match_elements<caf::exit_msg>() &&
         !element.payload.match_elements<caf::down_msg>() && !element.payload.match_elements<caf::action>();
}

/// The same before everything that waits in the mailbox.
template <class Handle, class... Ts>
void tell_urgently(const Handle& to, Ts&&... values) {
#if TROUPE_CAF_HAS_MAIL
  caf::anon_mail(std::forward<Ts>(values)...).urgent().send(to);
#else
  caf::anon_send<caf::message_priority::high>(to, std::forward<Ts>(values)...);
#endif
}

/// Sends to the actor itself after a while.
template <class Self, class Duration, class... Ts>
void tell_later(Self* self, Duration delay, Ts&&... values) {
  const auto to = caf::actor_cast<caf::actor>(self->address());
#if TROUPE_CAF_HAS_MAIL
  caf::anon_mail(std::forward<Ts>(values)...).delay(delay).send(to);
#else
  caf::delayed_anon_send(to, delay, std::forward<Ts>(values)...);
#endif
}

/// Calls `f()` on the actor after a while, unless it has ended or what is returned was disposed of. Unlike CAF's
/// run_delayed it does not keep the actor: CAF's clock drops a timer that was disposed of no earlier than when it
/// wakes for another.
template <class Self, class Duration, class F>
caf::disposable call_later(Self* self, Duration delay, F f) {
#if TROUPE_CAF_HAS_MAIL
  auto action = caf::make_action(std::move(f));
#else
  // The clock passes by an action for an actor that is `scheduled` already: it does that itself.
  auto action = caf::make_action(std::move(f), caf::action::state::waiting);
#endif
  auto& clock = self->clock();
  return clock.schedule(clock.now() + delay, std::move(action), caf::weak_actor_ptr{self->ctrl()});
}

/// A request with a deadline; continue with `.then(result, error)`, or `.receive` in a blocking
/// actor.
template <class Self, class Handle, class Duration, class... Ts>
auto ask(Self* self, const Handle& to, Duration deadline, Ts&&... values) {
#if TROUPE_CAF_HAS_MAIL
  return self->mail(std::forward<Ts>(values)...).request(to, deadline);
#else
  return self->request(to, deadline, std::forward<Ts>(values)...);
#endif
}

/// Calls `f(reason)` when the actor has ended: on the ending thread, or at once if it has already.
template <class Handle, class F>
void on_end(const Handle& handle, F f) {
  caf::actor_cast<caf::abstract_actor*>(handle)->attach_functor(
      [f = std::move(f)](const caf::error& reason) { f(reason); });
}

/// Calls `f(reason)` instead of ending when the actor is asked to end. A kill asks nobody.
template <class Self, class F>
void on_exit_request(Self* self, F f) {
  self->set_exit_handler([f = std::move(f)](caf::exit_msg& message) { f(message.reason); });
}

/// An exception in a handler ends the actor with what `f(exception_ptr)` makes of it.
template <class Self, class F>
void on_exception(Self* self, F f) {
  self->set_exception_handler([f = std::move(f)](std::exception_ptr& thrown) -> caf::error {
    return f(thrown);
  });
}

/// Ends an actor before whatever waits in its mailbox.
template <class Handle>
void stop_actor(const Handle& handle, caf::exit_reason reason) {
#if TROUPE_CAF_HAS_MAIL
  caf::anon_mail(caf::exit_msg{handle->address(), reason}).urgent().send(caf::actor_cast<caf::actor>(handle));
#else
  caf::anon_send<caf::message_priority::high>(caf::actor_cast<caf::actor>(handle),
                                              caf::exit_msg{handle->address(), caf::make_error(reason)});
#endif
}

}  // namespace troupe::runtime
