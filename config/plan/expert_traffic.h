// What tokens exchange with experts of other processes.
#pragma once

#include <map>
#include <vector>

#include "config/plan/planner.h"

namespace troupe::config {

/// The chance that a token uses none of the `held` experts of each group, if every choice of
/// `top_groups` groups, and of experts within them, is as likely as another.
double chance_of_none(const Model& model, const std::vector<int>& held);

/// Expected bytes of a token and MoE layer, as the wire format has them: to each process where it
/// uses an expert the token once, in the recipe's precision; back a sum for each routing group that
/// one shard has the whole of, and in FP32 the rows of other groups. In backward the same.
class ExpertTraffic {
 public:
  ExpertTraffic(const PlanArgs& args, const Plan& plan);

  /// Of a worker of `process` whose rows go to that replica's experts, forward and backward together, in one
  /// layer of `stage`.
  double bytes(int stage, int replica, int process) const;

 private:
  const int replicas_;
  std::vector<std::map<int, double>> by_process_;  // of each stage and replica: to and from whom
};

}  // namespace troupe::config
