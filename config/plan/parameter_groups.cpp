#include "config/plan/parameter_groups.h"

#include <algorithm>
#include <set>

#include "config/parameters.h"

namespace troupe::config {
int moe_layers_of(const Model& model, const StagePlan& stage) {
  int layers = 0;
  for (int layer = stage.first_layer; layer < stage.first_layer + stage.layers; ++layer) {
    layers += layer >= model.dense_layers() ? 1 : 0;
  }
  const bool is_last = stage.first_layer + stage.layers == model.layers();
  return layers + (is_last ? model.mtp_layers() : 0);
}

std::vector<int> processes_of_stage(const Plan& plan, int stage) {
  std::set<int> processes;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    const auto held = stages_of_rank(plan.schedule, plan.pipeline, rank);
    if (std::ranges::find(held, stage) == held.end()) continue;
    for (int d = 0; d < plan.data; ++d) {
      processes.insert(plan.process_of_worker[static_cast<size_t>(rank * plan.data + d)]);
    }
  }
  return {processes.begin(), processes.end()};
}

std::vector<ParameterGroup> parameter_groups(const PlanArgs& args, const Plan& plan) {
  const Model& model = args.model.model;
  const ParameterCounts counts = count_parameters(model);
  std::vector<ParameterGroup> groups;
  for (int s = 0; s < plan.pipeline; ++s) {
    const StagePlan& stage = plan.stages[static_cast<size_t>(s)];
    const int64_t of_expert = counts.expert * moe_layers_of(model, stage);
    int64_t common = stage.parameters - of_expert * (of_expert > 0 ? model.experts() : 0);
    if (s == 0) {
      common -= counts.embedding;
      std::set<int> users;
      for (int holder : {0, model.mtp_layers() > 0 ? plan.pipeline - 1 : 0}) {
        for (int process : processes_of_stage(plan, holder)) users.insert(process);
      }
      groups.push_back({counts.embedding, {users.begin(), users.end()}});
    }
    groups.push_back({common, processes_of_stage(plan, s)});
    for (int e = 0; of_expert > 0 && e < plan.expert; ++e) {
      std::set<int> users;
      for (int r = 0; r < plan.expert_replicas; ++r) users.insert(plan.process_of_expert(s, r, e));
      groups.push_back({of_expert * plan.experts[static_cast<size_t>(e)].count, {users.begin(), users.end()}});
    }
  }
  return groups;
}

}  // namespace troupe::config
