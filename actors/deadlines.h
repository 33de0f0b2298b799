// Supervision law: every request has a deadline.
#pragma once

#include <chrono>

namespace troupe::actors {

struct Deadlines {
  /// A part of a step: far beyond any that is alive, so that only the stuck and the lost are meant.
  std::chrono::milliseconds step{std::chrono::minutes(10)};
  /// Scoring the held-out text.
  std::chrono::milliseconds evaluation{std::chrono::hours(1)};

  /// Of whoever waits for somebody that waits for a part: the one below speaks first, and names it.
  std::chrono::milliseconds around_step() const { return 4 * step + std::chrono::seconds(1); }
};

}  // namespace troupe::actors
