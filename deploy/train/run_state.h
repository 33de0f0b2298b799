// Models of a command line: Hugging Face folders, and states of runs. Only reads: a run may be going
// on.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>

#include "actors/inference/model_folder.h"

namespace troupe::deploy {

/// A Hugging Face folder, or a run folder and which of its states.
struct ModelChoice {
  std::string folder;
  std::optional<uint64_t> step = std::nullopt;  ///< of a checkpoint; none: the newest
  bool takes_ema = false;                       ///< of the weights, in their place
};

/// --step and --ema, for commands that also take a run folder.
void add_state_options(CLI::App& command, ModelChoice& choice);

bool is_run_folder(const std::filesystem::path& folder);

/// Throws std::runtime_error if a model folder is asked for a step or an EMA.
void check_choice(const ModelChoice& choice);

struct RunState {
  actors::LoadedModel model;
  uint64_t hash;  ///< of the state
};

/// A checkpoint of a run in memory. Throws std::runtime_error if there is none, it is damaged or of
/// another model, it has no EMA where one is wanted, or the machine lacks the memory.
RunState load_state(const ModelChoice& choice);

/// Either kind, checked.
actors::LoadedModel load_model(const ModelChoice& choice);

}  // namespace troupe::deploy
