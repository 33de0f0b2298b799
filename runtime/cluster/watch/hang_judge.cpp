#include "runtime/cluster/watch/hang_judge.h"

#include <fmt/format.h>

#include <algorithm>

namespace troupe::runtime {

std::string describe(const Hang& hang) {
  return fmt::format("{} has been at {} of step {} for {:.1f} s (limit {:.1f} s, from measured times)",
                     hang.at.actor, hang.at.what, hang.at.step, hang.seconds, hang.limit);
}

double HangJudge::limit(double step) const {
  if (step == 0) return options_.first;
  return std::max({options_.least, options_.times * longest_, options_.steps * step});
}

std::optional<Hang> HangJudge::look(std::span<const Occupation> occupations, double step,
                                    double now) {
  std::optional<Hang> worst;
  std::map<std::string, Seen> seen;
  for (const Occupation& one : occupations) {
    const std::string key = one.actor + " " + one.what;
    const auto before = seen_.find(key);
    const bool goes_on = before != seen_.end() && before->second.id == one.id;
    Seen& now_seen = seen[key];
    now_seen = goes_on ? before->second : Seen{one.id, now, now, false};
    now_seen.last = now;
    if (goes_on) seen_.erase(before);
  }
  for (const auto& [key, ended] : seen_) longest_ = std::max(longest_, ended.last - ended.since);
  const double most = limit(step);
  for (const Occupation& one : occupations) {
    Seen& at = seen[one.actor + " " + one.what];
    const double seconds = now - at.since;
    if (at.is_named || seconds <= most) continue;
    at.is_named = true;
    if (!worst || seconds > worst->seconds) worst = Hang{one, seconds, most};
  }
  seen_ = std::move(seen);
  return worst;
}

}  // namespace troupe::runtime
