// Which processes of a plan compute with which parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "config/plan/planner.h"

namespace troupe::config {

/// Parameters that the same processes use.
struct ParameterGroup {
  int64_t parameters;
  std::vector<int> users;  ///< processes, ascending, at least one
};

/// All of the model, MTP included: for each stage what every worker of it needs, and what each of
/// its expert shards holds; embedding and head also where MTP modules are.
std::vector<ParameterGroup> parameter_groups(const PlanArgs& args, const Plan& plan);

/// Processes of the workers of all ranks that hold a stage, ascending.
std::vector<int> processes_of_stage(const Plan& plan, int stage);

/// MoE layers of a stage, MTP's included.
int moe_layers_of(const Model& model, const StagePlan& stage);

}  // namespace troupe::config
