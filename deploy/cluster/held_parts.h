// Who holds what of a run, by the plans under which it got that: leader and nodes make the same of it.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "actors/moves.h"
#include "config/load.h"
#include "config/plan/planner.h"
#include "runtime/proto/cluster.pb.h"

namespace troupe::deploy {

class HeldParts {
 public:
  /// All of it outlives this.
  struct Args {
    const config::LoadedRun& run;
    const config::LoadedModel& model;
    int cores;  ///< that plans are made for
    const kernels::ModelShape& shape;
    const runtime::StateArena& arena;
  };
  explicit HeldParts(const Args& args) : args_(args) {}

  /// What lives where in so many processes. Throws ConfigError: there is no such plan.
  const actors::Placement& placement(int processes);
  /// What has to move for the run to go on with so many.
  actors::Moves moves(const wire::Regroup& regroup, int processes);
  /// Of so many, which each is to be, the first the first, so that few bytes move.
  std::vector<int> choose(const std::vector<wire::HeldPart>& parts, int processes);

 private:
  struct Planned {
    config::Plan plan;
    std::unique_ptr<actors::Placement> placement;
  };
  actors::Holder holder(const wire::HeldPart& part);

  const Args args_;
  std::map<int, Planned> planned_;  // by processes
};

/// The newest states of the blocks that a process is to hold. Where they differ, a step is being applied
/// (then they are neighbours), or the process lacks some.
struct StatesHeld {
  uint64_t oldest, newest;
};
StatesHeld states_held(const runtime::StateArena& arena, const actors::Placement& placement, int process);

}  // namespace troupe::deploy
