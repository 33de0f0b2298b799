// Which processes of a run compute more slowly than the others, from what its steps report.
#pragma once

#include <string>
#include <vector>

#include "runtime/cluster/slow_workers.h"
#include "runtime/proto/step.pb.h"

namespace troupe::deploy {

class SlowNodes {
 public:
  /// By process: the operations that the plan has it do in a step (config/plan/cost_model.h).
  explicit SlowNodes(std::vector<double> flops) : flops_(std::move(flops)) {}

  /// Who is named or cleared by this step. One that was begun again is passed over: what was
  /// computed in vain is in its times. `lives`, by process, says whether another stands in its
  /// place by now.
  std::vector<runtime::SlowWorkers::Change> hear(const wire::StepDone& done,
                                                 const std::vector<uint32_t>& lives);

 private:
  const std::vector<double> flops_;
  std::vector<uint32_t> lives_;
  runtime::SlowWorkers workers_{runtime::SlowWorkers::usual};
};

/// "slow: process 2 (node-c, pid 4711) takes 1.62 x the others' time for its work".
std::string describe(const runtime::SlowWorkers::Change& change, const std::string& who);

}  // namespace troupe::deploy
