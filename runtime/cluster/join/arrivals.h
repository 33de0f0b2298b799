// Those who come to be one of a run, until they have said who they are: whoever connects and says nothing, or
// half of it, holds up nobody else.
#pragma once

#include <list>
#include <optional>

#include "runtime/cluster/join/join.h"

namespace troupe::runtime {

class Arrivals {
 public:
  /// Both outlive it. `patience`: for each to say who it is.
  Arrivals(Listener& listener, const Secret& secret, std::chrono::milliseconds patience)
      : listener_(listener), secret_(secret), patience_(patience) {}

  /// Who has said next who it is; none until the deadline. Throws ClusterError, for one at a time: it was
  /// refused, and told why, or has not said in time who it is.
  std::optional<Member> next(const wire::NodeFacts& own, Deadline deadline);
  /// Whether `next` has something to do at once.
  bool has_news() const;

 private:
  struct Stranger {
    FrameSocket socket;
    std::string nonce;
    Deadline deadline;
  };

  void greet_all();
  void wait(Deadline deadline) const;

  /// Beyond so many the first of them goes.
  static constexpr size_t most = 256;

  Listener& listener_;
  const Secret& secret_;
  const std::chrono::milliseconds patience_;
  std::list<Stranger> strangers_;  // as they came
};

}  // namespace troupe::runtime
