#include "runtime/cluster/watch/slow_workers.h"

#include <algorithm>
#include <cmath>

namespace troupe::runtime {
namespace {

/// Of an even number the lower of the two in the middle: of two processes the faster.
double lower_median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Median absolute deviation to standard deviation, of a normal distribution.
constexpr double normal_scale = 1.4826;

}  // namespace

void SlowWorkers::forget(int process) {
  if (static_cast<size_t>(process) < processes_.size())
    processes_[static_cast<size_t>(process)] = {};
}

std::vector<SlowWorkers::Change> SlowWorkers::hear(std::span<const double> costs) {
  processes_.resize(std::max(processes_.size(), costs.size()));
  std::vector<int> judged;
  std::vector<double> medians;
  for (size_t p = 0; p < costs.size(); ++p) {
    std::deque<double>& seen = processes_[p].costs;
    if (costs[p] <= 0) continue;
    seen.push_back(costs[p]);
    if (seen.size() > options_.steps) seen.pop_front();
    if (seen.size() < options_.steps) continue;
    judged.push_back(static_cast<int>(p));
    medians.push_back(lower_median({seen.begin(), seen.end()}));
  }
  std::vector<Change> said;
  for (size_t i = 0; i < judged.size() && judged.size() > 1; ++i) {
    std::vector<double> others = medians;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    const double middle = lower_median(others);
    for (double& other : others) other = std::abs(other - middle);
    const double deviation = normal_scale * lower_median(others);
    const double ratio = medians[i] / middle;
    Process& process = processes_[static_cast<size_t>(judged[i])];
    const bool is_far = medians[i] > middle + options_.deviations * deviation;
    if (changes(process, ratio, is_far)) said.push_back({judged[i], process.is_slow, ratio});
  }
  return said;
}

bool SlowWorkers::changes(Process& process, double ratio, bool is_far) const {
  if (!process.is_slow && !(ratio >= options_.slow && is_far)) return false;
  if (process.is_slow) ++process.slow_steps;
  if (process.is_slow && ratio < options_.well) {
    process.is_slow = false;
    process.said = 1;
    return true;
  }
  const double moved = ratio / process.said;
  if (process.is_slow && moved < options_.moved && moved > 1 / options_.moved) return false;
  if (!process.is_slow) process.slow_steps = 0;
  process.is_slow = true;
  process.said = ratio;
  return true;
}

std::vector<double> SlowWorkers::paces() const {
  std::vector<double> paces;
  for (const Process& process : processes_) paces.push_back(process.said);
  return paces;
}

std::vector<int> SlowWorkers::slow_for(size_t steps) const {
  std::vector<int> found;
  for (size_t p = 0; p < processes_.size(); ++p) {
    if (processes_[p].is_slow && processes_[p].slow_steps >= steps) found.push_back(static_cast<int>(p));
  }
  return found;
}

}  // namespace troupe::runtime
