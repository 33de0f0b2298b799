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
  actors::Holder holder{&placement(part.processes(), std::max(1, part.buddy_stride())), part.process()};
  for (const wire::HeldPart& other : part.also()) holder.also.push_back(this->holder(other));
  return holder;
}

actors::Moves HeldParts::moves(const wire::Regroup& regroup, int processes, int buddy_stride) {
  return actors::make_moves(holders({regroup.held().begin(), regroup.held().end()}),
                            placement(processes, buddy_stride), args_.arena);
}

std::vector<actors::Holder> HeldParts::holders(const std::vector<wire::HeldPart>& parts) {
  std::vector<actors::Holder> all;
  for (const wire::HeldPart& part : parts) all.push_back(holder(part));
  return all;
}

bool HeldParts::have_all(const std::vector<wire::HeldPart>& parts) {
  const std::vector<actors::Holder> all = holders(parts);
  const auto count = static_cast<int64_t>(args_.arena.blocks().size());
  for (int64_t block = 0; block < count; ++block) {
    const auto has_it = [&](const actors::Holder& one) { return one.share(block) == actors::Share::whole; };
    if (std::none_of(all.begin(), all.end(), has_it)) return false;
  }
  return true;
}

std::vector<int> HeldParts::choose(const std::vector<wire::HeldPart>& parts, int processes) {
  return actors::choose_processes(holders(parts), placement(processes), args_.arena);
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
