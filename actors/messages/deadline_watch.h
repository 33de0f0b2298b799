// The deadlines of what an actor waits for. Each that CAF is given wakes a thread of CAF's, and again when it is taken
// back: here one timer of the actor stands for all of them.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include "runtime/caf_shim.h"

namespace troupe::actors {

/// Used by its actor alone.
class DeadlineWatch {
 public:
  /// Something that an actor waits for.
  struct Waiting {
    virtual ~Waiting() = default;
    virtual bool is_over() const = 0;
    /// Called once, on the actor, if it is not over by its deadline; also where another that is late has ended the actor.
    virtual void be_late() = 0;
  };

  explicit DeadlineWatch(caf::scheduled_actor* self) : self_(self) {}
  ~DeadlineWatch() { timer_.dispose(); }
  DeadlineWatch(const DeadlineWatch&) = delete;
  DeadlineWatch& operator=(const DeadlineWatch&) = delete;

  /// Who waits keeps `what`: what is gone is over.
  void add(const std::shared_ptr<Waiting>& what, std::chrono::milliseconds deadline);

 private:
  using Clock = std::chrono::steady_clock;
  using Open = std::multimap<Clock::time_point, std::weak_ptr<Waiting>>;

  void forget_what_is_over();
  void set_timer(Clock::time_point when);
  void ring();

  caf::scheduled_actor* const self_;
  Open open_;  ///< and such as are over behind an earlier one that is not
  std::optional<Clock::time_point> rings_at_;
  caf::disposable timer_;
};

}  // namespace troupe::actors
