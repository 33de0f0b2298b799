// Supervision law: every request has a deadline.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace troupe::actors {

/// How long the parts of steps may take, from how long steps have taken: far beyond any that is
/// alive, so that only the stuck and the lost are meant. Thread-safe.
class StepTimes {
 public:
  using Ms = std::chrono::milliseconds;
  using Time = std::chrono::steady_clock::time_point;
  static constexpr Ms least{10'000};
  static constexpr int64_t times = 20;
  static constexpr size_t window = 31;  ///< steps

  /// Each time that it is begun. One that is begun again has twice the time: if it was not stuck but
  /// larger than any before, it gets done.
  void begun(uint64_t step, Time now) {
    std::lock_guard lock(mutex_);
    patience_ = std::exchange(step_, step) == step ? std::min<int64_t>(2 * patience_, 1 << 20) : 1;
    since_ = now;
  }
  void done(uint64_t step, Time now) {
    std::lock_guard lock(mutex_);
    if (step_ != step) return;
    took_.push_back(std::max(Ms(1), std::chrono::ceil<Ms>(now - since_)));
    if (took_.size() > window) took_.pop_front();
  }
  /// What others have measured: holds until a step is done here. A process that takes a lost one's place would know
  /// of no step, and what hangs or is lost in its first would have `most`, minutes.
  void told(Ms usual) {
    std::lock_guard lock(mutex_);
    told_ = std::clamp(usual, Ms(0), Ms(std::chrono::hours(24)));
  }
  /// For others: a usual step, and twice as long each time that this one was begun again. 0: nothing is known.
  Ms to_tell() const {
    std::lock_guard lock(mutex_);
    return usual() * patience_;
  }
  /// The median of the last steps: one that waited for a failure to be noticed moves nothing. 0: none is done, and
  /// nothing was told.
  Ms typical() const {
    std::lock_guard lock(mutex_);
    return usual();
  }
  /// The same for whoever ends a process for what takes far longer: a process's own first step, which touches its
  /// memory and opens its GPU, is taken to be one of `cold` at least.
  Ms typical_or_cold(Ms cold) const {
    std::lock_guard lock(mutex_);
    const Ms step = usual();
    return took_.empty() && step > Ms(0) ? std::max(step, cold) : step;
  }
  /// `most` until a step is done or told of.
  Ms deadline(Ms most) const {
    std::lock_guard lock(mutex_);
    const Ms step = usual();
    if (step == Ms(0)) return most;
    return std::min(most, std::max(least, times * step) * patience_);
  }

 private:
  Ms usual() const {
    if (took_.empty()) return told_;
    std::vector<Ms> sorted(took_.begin(), took_.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }

  mutable std::mutex mutex_;
  uint64_t step_ = 0;
  Time since_;
  int64_t patience_ = 1;
  std::deque<Ms> took_;
  Ms told_{0};
};

struct Deadlines {
  /// A part of a step at most, and what has no measure: states on their way.
  std::chrono::milliseconds step{std::chrono::minutes(10)};
  /// Scoring the held-out text.
  std::chrono::milliseconds evaluation{std::chrono::hours(1)};
  StepTimes times;

  /// A part of a step.
  std::chrono::milliseconds part() const { return times.deadline(step); }

  /// Of whoever waits for somebody that waits: the one below speaks first, and names who is late. A
  /// crew waits for two parts at most, one behind the other, and the trainer for two answers of crews.
  std::chrono::milliseconds around_crew() const { return around(part()); }
  std::chrono::milliseconds around_step() const {
    return 2 * around_crew() + std::chrono::milliseconds(500);
  }
  std::chrono::milliseconds around_states() const { return around(step); }

 private:
  static std::chrono::milliseconds around(std::chrono::milliseconds part) {
    return 2 * part + std::chrono::milliseconds(500);
  }
};

}  // namespace troupe::actors
