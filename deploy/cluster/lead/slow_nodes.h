// Which processes of a run compute more slowly than the others, from what its steps report.
#pragma once

#include <string>
#include <vector>

#include "config/plan/cost_model.h"
#include "runtime/cluster/watch/slow_workers.h"
#include "runtime/proto/step.pb.h"

namespace troupe::deploy {

class SlowNodes {
 public:
  /// `shares`: micro-batches of each data worker in a step that does not say its own.
  SlowNodes(config::UnitWork work, std::vector<int> shares)
      : work_(std::move(work)), shares_(std::move(shares)) {}

  /// Who is named or cleared by this step. One that was begun again is passed over: what was
  /// computed in vain is in its times. `lives`, by process, says whether another stands in its
  /// place by now.
  std::vector<runtime::SlowWorkers::Change> hear(const wire::StepDone& done,
                                                 const std::vector<uint32_t>& lives);
  /// See SlowWorkers.
  std::vector<double> paces() const { return workers_.paces(); }
  std::vector<int> slow_for(size_t steps) const { return workers_.slow_for(steps); }

 private:
  const config::UnitWork work_;
  const std::vector<int> shares_;
  std::vector<uint32_t> lives_;
  runtime::SlowWorkers workers_{runtime::SlowWorkers::usual};
};

/// "slow: process 2 (node-c, pid 4711) takes 1.62 x the others' time for its work".
std::string describe(const runtime::SlowWorkers::Change& change, const std::string& who);

}  // namespace troupe::deploy
