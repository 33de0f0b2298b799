#include "runtime/cluster/watch/failure_detector.h"

#include <algorithm>
#include <cmath>

namespace troupe::runtime {

void FailureDetector::heard(double now) {
  if (is_heard_) {
    const double interval = now - last_;
    intervals_.push_back(interval);
    sum_ += interval;
    squares_ += interval * interval;
    if (intervals_.size() > options_.window) {
      const double oldest = intervals_.front();
      intervals_.pop_front();
      sum_ -= oldest;
      squares_ -= oldest * oldest;
    }
  }
  is_heard_ = true;
  last_ = now;
}

double FailureDetector::mean() const {
  const auto n = static_cast<double>(intervals_.size());
  return intervals_.empty() ? options_.first_interval : sum_ / n;
}

/// Of few intervals nothing is concluded: half of the first one's length stands for them.
double FailureDetector::deviation() const {
  constexpr size_t few = 8;
  if (intervals_.size() < few)
    return std::max(options_.least_deviation, options_.first_interval / 2);
  const double mean = this->mean();
  const double variance = squares_ / static_cast<double>(intervals_.size()) - mean * mean;
  return std::max(options_.least_deviation, std::sqrt(std::max(0.0, variance)));
}

double FailureDetector::phi(double now) const {
  if (!is_heard_) return 0;
  constexpr double certain = 300;  // beyond what a double tells from 0
  const double late = silence(now) - mean() - options_.acceptable_pause;
  const double chance = std::erfc(late / deviation() / std::sqrt(2.0)) / 2;
  return chance > 0 ? std::min(certain, -std::log10(chance)) : certain;
}

double AwakeClock::look(double now) {
  if (last_ >= 0) awake_ += std::clamp(now - last_, 0.0, most_);
  last_ = now;
  return awake_;
}

}  // namespace troupe::runtime
