// The checkpoints of a run folder, as a user sees them. Only reads: the run may be going on.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/state_checkpoint.h"

namespace troupe::deploy {

struct ListedCheckpoint {
  uint64_t step;
  std::string damage = {};    ///< of the manifest; then the rest is not known
  uint64_t bytes = 0;         ///< of its files
  int files = 0;
  uint64_t parameters = 0;
  runtime::StateFormat format = {};
  std::string hash = {};
  std::string arithmetic = {};
  double age_seconds = 0;     ///< since the manifest was written
  std::string objection = {}; ///< of the journal; empty: it knows the state
};

/// By step. What is removed while it is read is not listed. Throws std::runtime_error if `run`
/// holds no run.
std::vector<ListedCheckpoint> read_checkpoints(const std::filesystem::path& run);

nlohmann::ordered_json to_json(const ListedCheckpoint& checkpoint);
/// A line a checkpoint under a line of headings; empty for none.
std::string to_table(std::span<const ListedCheckpoint> checkpoints);

/// "40s", "5m10s", "3h05m", "2d04h".
std::string age_text(double seconds);

/// Places in `run`, by step. Throws std::runtime_error if it holds no run.
std::vector<runtime::CheckpointPlace> checkpoints_of(const std::filesystem::path& run);
/// That of `step`, or the newest. Throws std::runtime_error, naming those that are there.
runtime::CheckpointPlace checkpoint_of(const std::filesystem::path& run,
                                       std::optional<uint64_t> step);

/// What to say of a checkpoint that is not there any more.
std::string removed_text(const runtime::CheckpointPlace& place);

}  // namespace troupe::deploy
