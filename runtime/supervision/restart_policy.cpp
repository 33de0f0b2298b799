#include "runtime/supervision/restart_policy.h"

#include <algorithm>

namespace troupe::runtime {

bool RestartWindow::add(Instant now) {
  const auto second = std::chrono::floor<std::chrono::seconds>(now);
  while (!stamps_.empty() && stamps_.front() < second - period_) stamps_.pop_front();
  stamps_.push_back(second);
  return stamps_.size() <= static_cast<size_t>(intensity_);
}

std::chrono::milliseconds Backoff::next(Instant now) {
  if (started_ && now - *started_ >= (bounds_.min + bounds_.max) / 2) {
    wait_ = std::chrono::milliseconds(0);
  }
  started_.reset();
  wait_ = wait_.count() == 0 ? bounds_.min
                             : wait_ + std::min(wait_, bounds_.max - wait_);  // cannot overflow
  return wait_;
}

}  // namespace troupe::runtime
