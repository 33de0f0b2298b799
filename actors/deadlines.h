// Supervision law: every request has a deadline.
#pragma once

#include <chrono>

namespace troupe::actors {

struct Deadlines {
  /// A part of a step: far beyond any that is alive, so that only the stuck and the lost are meant.
  std::chrono::milliseconds step{std::chrono::minutes(10)};
  /// Scoring the held-out text.
  std::chrono::milliseconds evaluation{std::chrono::hours(1)};

  /// Of whoever waits for somebody that waits: the one below speaks first, and names who is late. A
  /// crew waits for two parts at most, one behind the other, and the trainer for two answers of crews.
  std::chrono::milliseconds around_crew() const { return 2 * step + std::chrono::milliseconds(500); }
  std::chrono::milliseconds around_step() const {
    return 2 * around_crew() + std::chrono::milliseconds(500);
  }
};

}  // namespace troupe::actors
