// Whether a peer that is silent still lives, as a level of suspicion. Phi-accrual: N. Hayashibara,
// X. Defago, R. Yared, T. Katayama, "The phi accrual failure detector", SRDS 2004, section 4. Times
// are seconds since any fixed moment; no clock is in here.
#pragma once

#include <cstddef>
#include <deque>

namespace troupe::runtime {

class FailureDetector {
 public:
  struct Options {
    double first_interval;    ///< seconds between signs of life, until some have come
    size_t window;            ///< intervals that are remembered
    double least_deviation;   ///< seconds; very even signs say little about the next
    double acceptable_pause;  ///< seconds that a peer may be late beyond what the window says
  };
  explicit FailureDetector(const Options& options) : options_(options) {}

  /// A sign of life.
  void heard(double now);
  /// -log10 of the chance that a peer that lives is silent for this long: 1 is wrong once in 10
  /// times, 8 once in 10^8. 0 before the first sign.
  double phi(double now) const;
  /// Seconds since the last sign; 0 before the first.
  double silence(double now) const { return is_heard_ ? now - last_ : 0; }

  /// Seconds between signs, of the window.
  double mean() const;
  double deviation() const;

 private:
  const Options options_;
  std::deque<double> intervals_;
  double sum_ = 0, squares_ = 0;
  double last_ = 0;
  bool is_heard_ = false;
};

/// Time in which its owner could have heard something. While the owner itself is kept from running,
/// or its whole machine stands still, it counts `most` at each look and no more: so a judge that
/// comes late does not take its own delay for the silence of others, and still judges if it always
/// comes late.
class AwakeClock {
 public:
  /// Seconds.
  explicit AwakeClock(double most) : most_(most) {}

  /// The seconds that count, at `now` of a clock that only goes forward.
  double look(double now);

 private:
  const double most_;
  double last_ = -1, awake_ = 0;
};

}  // namespace troupe::runtime
