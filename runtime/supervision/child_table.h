// A supervisor's children in the order they are started.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/supervision/restart_policy.h"
#include "runtime/supervision/supervisor_messages.h"

namespace troupe::runtime {

/// A child's place in the start order.
using Place = uint64_t;

struct Child {
  std::shared_ptr<const ChildSpec> spec;  // one for all children of a simple_one_for_one
  ChildState state = ChildState::undefined;
  Incarnation incarnation = 0;  // the life it lives, or if it is restarting the last one
  TimerId retry = 0;            // restarting: the timer that starts the next attempt
  std::unique_ptr<std::string> argument = {};  // dynamic, unless temporary
  std::unique_ptr<Backoff> backoff = {};
};

class ChildTable {
 public:
  /// Behind all others.
  Place add(Child child);
  void erase(Place place);
  Child& at(Place place) { return children_.at(place); }
  const Child& at(Place place) const { return children_.at(place); }
  size_t size() const { return children_.size(); }

  void set_running(Place place, Incarnation incarnation);
  void set_restarting(Place place, TimerId retry);
  /// Down, with nothing to come: OTP's undefined.
  void set_undefined(Place place);

  /// nullptr, or the place.
  const Place* find(Incarnation incarnation) const;  // running ones only
  std::optional<Place> find(const std::string& id) const;
  std::optional<Place> find_restarting(TimerId retry) const;
  std::optional<Place> find_last(Incarnation incarnation) const;  // also one that is restarting

  /// Places from `first` on, in start order.
  std::vector<Place> from(Place first = 0) const;

  /// OTP's code change: the order and content of `specs`, then children not in it as they were.
  void change_specs(const std::vector<ChildSpec>& specs);

 private:
  std::map<Place, Child> children_;
  std::map<Incarnation, Place> running_;
  Place next_place_ = 1;
};

}  // namespace troupe::runtime
