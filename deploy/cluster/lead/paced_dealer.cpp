#include "deploy/cluster/lead/paced_dealer.h"

#include <fmt/format.h>

#include "config/schedule/dealing.h"

namespace troupe::deploy {
namespace {

/// As many are named.
constexpr int most_named = 8;

}  // namespace

std::vector<int> PacedDealer::shares(int micro_batches) {
  std::lock_guard lock(mutex_);
  const auto found = dealt_.find(micro_batches);
  if (found != dealt_.end()) return found->second;
  return dealt_[micro_batches] = config::paced_shares({.plan = plan_,
                                                       .work = work_,
                                                       .paces = paces_,
                                                       .micro_batches = micro_batches});
}

void PacedDealer::pace(std::vector<double> paces) {
  paces.resize(static_cast<size_t>(plan_.processes), 1.0);
  std::lock_guard lock(mutex_);
  if (paces == paces_) return;
  paces_ = std::move(paces);
  dealt_.clear();
}

std::string describe_shares(const std::vector<int>& before, const std::vector<int>& now) {
  std::string text;
  int changed = 0;
  for (size_t d = 0; d < now.size(); ++d) {
    if (now[d] == before[d] || ++changed > most_named) continue;
    text += fmt::format("{}data worker {} takes {}{} for {}", text.empty() ? "" : ", ", d, now[d],
                        text.empty() ? " micro-batches" : "", before[d]);
  }
  if (changed > most_named) text += fmt::format(", and {} more have others", changed - most_named);
  return text;
}

}  // namespace troupe::deploy
