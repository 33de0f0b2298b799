// When a failing child may start again. Pure: the time is an argument.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "runtime/supervision/child_spec.h"

namespace troupe::runtime {

/// Since any fixed moment; never runs backwards.
using Instant = std::chrono::nanoseconds;

/// OTP's maximum restart intensity. Time counts in whole seconds and the window includes its
/// first second: with intensity 1 and period 1, restarts stamped 10 and 11 are one too many.
/// Source: add_restart in Erlang/OTP's supervisor.
class RestartWindow {
 public:
  RestartWindow(int intensity, std::chrono::seconds period)
      : intensity_(intensity), period_(period) {}

  /// Counts a restart; false if it is one too many.
  bool add(Instant now);

 private:
  int intensity_;
  std::chrono::seconds period_;
  std::deque<std::chrono::seconds> stamps_;  // oldest first, never more than intensity + 1
};

/// Waits that double from min to max and begin again after (min + max) / 2 without a failure.
/// Source of the rule: Apache Pekko, BackoffSupervisor.
class Backoff {
 public:
  explicit Backoff(BackoffBounds bounds) : bounds_(bounds) {}

  /// The child is up again.
  void started(Instant now) { started_ = now; }
  /// The child has failed: how long to wait before it is started again.
  std::chrono::milliseconds next(Instant now);

 private:
  BackoffBounds bounds_;
  std::optional<Instant> started_;
  std::chrono::milliseconds wait_{0};  // the last one; 0 at the beginning
};

}  // namespace troupe::runtime
