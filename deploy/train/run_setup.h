// What a run is played from: its files read and checked, its plan, and its first state.
#pragma once

#include <filesystem>
#include <optional>

#include "actors/company.h"
#include "actors/control/commit.h"
#include "actors/train/recipe.h"
#include "config/load.h"
#include "config/plan/planner.h"
#include "runtime/checkpoint/huggingface.h"
#include "runtime/state/arena.h"

namespace troupe::deploy {

struct RunSetup {
  config::LoadedRun run;
  config::LoadedModel model;
  std::optional<runtime::HuggingFaceModel> weights;  ///< when the run starts from a model
  config::Plan plan;
  int cores;

  config::PlanArgs plan_args() const { return {.run = run, .model = model, .cores = cores}; }
};

/// Reads the run's model, checks both and plans: what can be planned, also where it cannot be trained
/// here. Throws an error that names what is wrong.
RunSetup plan_run(config::LoadedRun run);

/// The same of a run that is to be trained: its files must be there.
RunSetup set_up_run(config::LoadedRun run);

/// Throws ConfigError if the run does not fit this machine's memory.
void check_memory(const RunSetup& setup);

/// Makes state 0 in the arena; its routing bias.
actors::RoutingBias initial_state(const RunSetup& setup, const actors::Recipe& recipe,
                                  runtime::StateArena& arena);

/// What a run says of how its processes work, which each of them settles alike: its deadline, whether states are
/// verified, and what is traced. `run_folder` is where it stands on the host that leads; a part of a trace stands in
/// the folder of that name, wherever the process is.
void settle(actors::Company& company, const config::Run& run, const std::filesystem::path& run_folder);

/// Why a run that goes on from this state records nothing of what it is to record; empty: it does, or is to record
/// nothing.
std::string trace_objection(const config::Run& run, uint64_t state);

}  // namespace troupe::deploy
