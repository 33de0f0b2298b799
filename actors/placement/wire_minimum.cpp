#include "actors/placement/wire_minimum.h"

namespace troupe::actors {
namespace {

int64_t bytes_of_blocks(const Company& company) {
  const Placement& placement = company.placement;
  const auto elements = [&](const std::vector<int64_t>& blocks) {
    int64_t count = 0;
    for (const int64_t id : blocks) count += company.arena.blocks()[static_cast<size_t>(id)].count;
    return count;
  };
  int64_t bytes = 0;
  for (const BlockEdge& edge : placement.edges()) {
    bytes += elements(edge.blocks) * (placement.buddy(edge.owner) == edge.user ? 8 : 8 + 4);
  }
  for (int shard = 0; shard < company.plan.optimizer_shards; ++shard) {
    if (placement.buddy(shard) >= 0) bytes += elements(placement.owned_by(shard)) * 4;
  }
  return bytes;
}

int64_t bytes_between_stages(const Company& company, const StepNumbers& step,
                             std::span<const int> shares) {
  const config::Plan& plan = company.plan;
  int64_t crossings = 0;
  const std::vector<std::vector<int>> hands = company.hands(shares, step.micro_batches);
  for (int worker = 0; worker < plan.data; ++worker) {
    const std::vector<int>& taken = hands[static_cast<size_t>(worker)];
    const config::PipelineLists lists =
        config::lists_of_step({plan.schedule, plan.pipeline, taken});
    const auto process = [&](int stage, int micro_batch) {
      return company.placement.process_of({Role::stage, lists.rank_of(stage, micro_batch), worker});
    };
    for (const int m : taken) {
      for (int stage = 0; stage + 1 < plan.pipeline; ++stage) {
        if (process(stage, m) != process(stage + 1, m)) ++crossings;
      }
    }
  }
  return 2 * crossings * step.sequences * step.sequence_rows * company.recipe.shape.hidden * 4;
}

}  // namespace

int64_t minimum_bytes(const Company& company, const StepNumbers& step, std::span<const int> shares,
                      const wire::StepReport& report) {
  int64_t bytes = bytes_of_blocks(company) + bytes_between_stages(company, step, shares);
  for (const wire::UnitRouting& unit : report.routing()) {
    bytes += static_cast<int64_t>(unit.crossing_bytes());
  }
  return bytes;
}

}  // namespace troupe::actors
