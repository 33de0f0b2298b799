#include "deploy/cluster/held_parts.h"

#include <algorithm>
#include <optional>

namespace troupe::deploy {

const actors::Placement& HeldParts::placement(int processes, int buddy_stride) {
  Planned& planned = planned_[{processes, buddy_stride}];
  if (!planned.placement) {
    config::LoadedRun run = args_.run;
    run.run.mutable_cluster()->set_nodes(processes);
    planned.plan = config::make_plan({.run = run, .model = args_.model, .cores = args_.cores});
    planned.plan.buddy_stride = buddy_stride;
    planned.placement = std::make_unique<actors::Placement>(planned.plan, args_.shape, args_.arena);
  }
  return *planned.placement;
}

actors::Holder HeldParts::holder(const wire::HeldPart& part) {
  if (part.processes() == 0) return {nullptr, 0};
  return {&placement(part.processes(), std::max(1, part.buddy_stride())), part.process()};
}

actors::Moves HeldParts::moves(const wire::Regroup& regroup, int processes, int buddy_stride) {
  std::vector<actors::Holder> holders;
  for (const wire::HeldPart& part : regroup.held()) holders.push_back(holder(part));
  return actors::make_moves(holders, placement(processes, buddy_stride), args_.arena);
}

std::vector<int> HeldParts::choose(const std::vector<wire::HeldPart>& parts, int processes) {
  std::vector<actors::Holder> holders;
  for (const wire::HeldPart& part : parts) holders.push_back(holder(part));
  return actors::choose_processes(holders, placement(processes), args_.arena);
}

StatesHeld states_held(const runtime::StateArena& arena, const actors::Placement& placement, int process) {
  std::optional<StatesHeld> held;
  const auto count = static_cast<int64_t>(arena.blocks().size());
  for (int64_t block = 0; block < count; ++block) {
    if (placement.share(process, block) == actors::Share::none) continue;
    const uint64_t state = std::max(arena.stamp(block, 0), arena.stamp(block, 1));
    if (!held) held = StatesHeld{state, state};
    held = StatesHeld{std::min(held->oldest, state), std::max(held->newest, state)};
  }
  return held.value_or(StatesHeld{0, 0});
}

}  // namespace troupe::deploy
