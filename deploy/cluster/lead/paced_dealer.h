// Deals a run's micro-batches by how fast its processes are, as far as that is known.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "config/plan/cost_model.h"

namespace troupe::deploy {

/// Thread-safe.
class PacedDealer {
 public:
  PacedDealer(config::Plan plan, config::UnitWork work)
      : plan_(std::move(plan)), work_(std::move(work)),
        paces_(static_cast<size_t>(plan_.processes), 1.0) {}

  /// Of each data worker, of a step of so many.
  std::vector<int> shares(int micro_batches);
  /// By process; none is said of those behind the last: 1.
  void pace(std::vector<double> paces);

 private:
  const config::Plan plan_;
  const config::UnitWork work_;
  std::mutex mutex_;
  std::vector<double> paces_;
  std::map<int, std::vector<int>> dealt_;  // by the step's micro-batches, at these paces
};

/// "data worker 0 takes 5 micro-batches for 3, data worker 1 takes 1 for 3"; of many the first few. Empty:
/// nothing has changed.
std::string describe_shares(const std::vector<int>& before, const std::vector<int>& now);

}  // namespace troupe::deploy
