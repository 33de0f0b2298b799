// Who holds what of a run, by the plans under which it got that: leader and nodes make the same of it.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "actors/placement/moves.h"
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

  /// What lives where in so many processes, each with its copies so many further on. Throws ConfigError: there is
  /// no such plan.
  const actors::Placement& placement(int processes, int buddy_stride = 1);
  /// What has to move for the run to go on so.
  actors::Moves moves(const wire::Regroup& regroup, int processes, int buddy_stride);
  /// Whether they hold every block.
  bool have_all(const std::vector<wire::HeldPart>& parts);
  /// Of so many, which each is to be, the first the first, so that few bytes move.
  std::vector<int> choose(const std::vector<wire::HeldPart>& parts, int processes);

 private:
  struct Planned {
    config::Plan plan;
    std::unique_ptr<actors::Placement> placement;
  };
  actors::Holder holder(const wire::HeldPart& part);
  std::vector<actors::Holder> holders(const std::vector<wire::HeldPart>& parts);

  const Args args_;
  std::map<std::pair<int, int>, Planned> planned_;  // by processes and stride
};

/// The newest states of the blocks that a process is to hold. Where they differ, a step is being applied
/// (then they are neighbours), or the process lacks some.
struct StatesHeld {
  uint64_t oldest, newest;
};
StatesHeld states_held(const runtime::StateArena& arena, const actors::Placement& placement, int process);

}  // namespace troupe::deploy
