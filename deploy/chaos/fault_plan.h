// Which failures a campaign has, and when.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "actors/control/failpoints.h"

namespace troupe::deploy {

struct FaultPlanArgs {
  uint64_t seed;
  int count;
  uint64_t every;             ///< steps from one to the next; the first is in step `every`
  uint64_t checkpoint_every;  ///< steps; 0: the last step alone
  std::vector<actors::Fault> kinds;
  std::vector<int> counts;    ///< actors by role
};

/// One failure every `every` steps. Kinds, roles and phases take turns, so that each of their
/// combinations comes before one comes again; the order and the actors are drawn by the seed. What happens at
/// checkpoints is put where one is made, and what only a measured time shows behind the first step; where none
/// of `kinds` can be there is no failure.
std::vector<actors::Failpoint> fault_plan(const FaultPlanArgs& args);

/// One a line, as its witness is written ("crash expert_shard/1@7:backward"); empty lines and what stands
/// behind '#' is left out. Throws FailpointError: file, line, what was found and wanted.
std::vector<actors::Failpoint> read_fault_plan(const std::filesystem::path& file);

/// "crash,exit": throws FailpointError for a name that is none.
std::vector<actors::Fault> fault_kinds(const std::vector<std::string>& names);

}  // namespace troupe::deploy
