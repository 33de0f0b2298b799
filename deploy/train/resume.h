// Going on with a run: its folder's copy of the run, and the state it goes on from.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "actors/control/coordinator.h"
#include "config/load.h"
#include "runtime/cluster/journal/journal.h"
#include "runtime/proto/checkpoint.pb.h"
#include "runtime/state/arena.h"

namespace troupe::deploy {

/// The run of a folder, with its model and tokenizer as they were. Of the settings only train.steps
/// is taken; throws std::runtime_error for another.
config::LoadedRun load_resumed_run(const std::filesystem::path& folder,
                                   std::span<const std::string> settings);

struct StartingPoint {
  runtime::JournalHistory history;
  actors::ResumePoint from;             ///< record of step 0: the arena must still be filled
  actors::RoutingBias bias;
  std::optional<wire::StepDone> last;   ///< the last step of the state, as it was printed
  std::vector<std::string> notes;       ///< damaged checkpoints, torn tails, what is replayed
};

struct StartingPointArgs {
  const std::filesystem::path& folder;  ///< of the run
  runtime::JournalHistory history;      ///< its journal
  runtime::StateArena& arena;
  const actors::Recipe& recipe;
  uint64_t newest_state;                ///< checkpoints of later states are left aside
};

/// The newest checkpoint whose hashes hold and that the journal knows, loaded into the arena; or
/// state 0. A new folder has neither. Throws std::runtime_error for a checkpoint of another format
/// than the arena's, and where there are checkpoints and the journal has no step.
StartingPoint starting_point(StartingPointArgs args);

/// The point of a leader that takes a lost one's place: the other processes hold what the last commit
/// N came from, or state N already, which the arena gets from them; the commit is applied first, where it
/// has not been. Wants a commit in the journal; throws as above.
StartingPoint takeover_point(StartingPointArgs args);

/// The point of a run that goes on with other processes, which hold the state of the last commit. Wants a
/// commit in the journal; throws as above.
StartingPoint regroup_point(StartingPointArgs args);

/// A run that left its arithmetic to its device goes on in the one that it was begun in (its journal's;
/// empty: none), whatever would be chosen here and now.
void keep_arithmetic(std::string_view begun_in, config::Train& train);

/// What speaks against going on with a recipe: a commit that it would not have made, because its
/// tokens, its rate or other numbers of the schedule are others. Empty: nothing.
std::string recipe_objection(const actors::Recipe& recipe,
                             std::span<const wire::StepRecord> commits);

/// What speaks against going on from a checkpoint: the journal does not know its step, or has
/// another record or hash of it, or the arithmetic is another. Empty: nothing.
std::string objection_to(const wire::CheckpointManifest& manifest,
                         const runtime::JournalHistory& history);

}  // namespace troupe::deploy
