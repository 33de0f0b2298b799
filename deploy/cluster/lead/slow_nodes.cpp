#include "deploy/cluster/lead/slow_nodes.h"

#include <fmt/format.h>

#include <utility>

namespace troupe::deploy {

std::vector<runtime::SlowWorkers::Change> SlowNodes::hear(const wire::StepDone& done,
                                                          const std::vector<uint32_t>& lives) {
  lives_.resize(lives.size());
  for (size_t p = 0; p < lives.size(); ++p) {
    if (std::exchange(lives_[p], lives[p]) != lives[p]) workers_.forget(static_cast<int>(p));
  }
  if (done.attempts() > 1) return {};
  const std::vector<int> said(done.shares().begin(), done.shares().end());
  const std::vector<double> flops = config::process_flops(work_, said.empty() ? shares_ : said);
  std::vector<double> costs(flops.size(), 0);
  for (const wire::ProcessWork& one : done.work()) {
    const auto process = static_cast<size_t>(one.process());
    if (process < costs.size() && flops[process] > 0) {
      costs[process] = one.unit_seconds() / flops[process];
    }
  }
  return workers_.hear(costs);
}

std::string describe(const runtime::SlowWorkers::Change& change, const std::string& who) {
  return change.is_slow ? fmt::format("slow: {} takes {:.2f} x the others' time for its work", who,
                                      change.ratio)
                        : fmt::format("no more slow: {}, {:.2f} x the others' time for its work",
                                      who, change.ratio);
}

}  // namespace troupe::deploy
