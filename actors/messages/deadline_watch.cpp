#include "actors/messages/deadline_watch.h"

#include <vector>

namespace troupe::actors {

void DeadlineWatch::add(const std::shared_ptr<Waiting>& what, std::chrono::milliseconds deadline) {
  forget_what_is_over();
  const auto when = Clock::now() + deadline;
  open_.emplace(when, what);
  if (!rings_at_ || when < *rings_at_) set_timer(when);
}

void DeadlineWatch::forget_what_is_over() {
  while (!open_.empty()) {
    const auto first = open_.begin()->second.lock();
    if (first && !first->is_over()) return;
    open_.erase(open_.begin());
  }
}

void DeadlineWatch::set_timer(Clock::time_point when) {
  timer_.dispose();
  rings_at_ = when;
  timer_ = runtime::call_later(self_, when - Clock::now(), [this] { ring(); });
}

void DeadlineWatch::ring() {
  rings_at_.reset();
  const auto end = open_.upper_bound(Clock::now());
  std::vector<std::shared_ptr<Waiting>> late;
  for (auto it = open_.begin(); it != end; ++it) late.push_back(it->second.lock());
  open_.erase(open_.begin(), end);
  for (const auto& what : late) {
    if (what && !what->is_over()) what->be_late();  // who may add others
  }
  forget_what_is_over();
  if (!open_.empty() && (!rings_at_ || open_.begin()->first < *rings_at_)) set_timer(open_.begin()->first);
}

}  // namespace troupe::actors
