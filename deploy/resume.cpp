#include "deploy/resume.h"

#include <algorithm>
#include <stdexcept>

#include "runtime/checkpoint/state_checkpoint.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

/// Loads the newest good checkpoint; its manifest, or nothing.
std::optional<wire::CheckpointManifest> load_newest(const fs::path& folder,
                                                    const runtime::JournalHistory& history,
                                                    uint64_t steps, runtime::StateArena& arena,
                                                    std::vector<std::string>& notes) {
  auto places = runtime::list_checkpoints(folder);
  std::reverse(places.begin(), places.end());
  for (const auto& place : places) {
    if (place.step > history.commits.size() || place.step > steps) {
      notes.push_back(place.folder.string() + " is ahead of the journal: not used");
      continue;
    }
    try {
      return runtime::load_checkpoint(place.folder, arena);
    } catch (const std::runtime_error& error) {
      notes.push_back(std::string(error.what()) + "; the one before is used");
    }
  }
  return std::nullopt;
}

}  // namespace

config::LoadedRun load_resumed_run(const fs::path& folder,
                                   std::span<const std::string> settings) {
  for (const std::string& setting : settings) {
    if (!setting.starts_with("train.steps=")) {
      throw std::runtime_error("--set " + setting +
                               ": a resumed run keeps its recipe, only train.steps may change");
    }
  }
  if (!fs::exists(folder / "run.textproto")) {
    throw std::runtime_error(folder.string() + " holds no run: found no run.textproto in it");
  }
  config::LoadedRun run = config::load_run(folder / "run.textproto", settings);
  if (!settings.empty() && run.run.train().optimizer().decay() != config::Optimizer::CONSTANT) {
    throw std::runtime_error(
        "--set train.steps: with train.optimizer.decay the learning rates of past steps depend on "
        "it; wanted CONSTANT, or no --set");
  }
  if (run.run.model().has_file()) {
    run.run.mutable_model()->set_file(fs::absolute(folder / "model.textproto").string());
    run.run.mutable_model()->clear_with();
  }
  run.run.mutable_data()->mutable_tokenizer()->set_file(
      fs::absolute(folder / "tokenizer.json").string());
  return run;
}

StartingPoint starting_point(const fs::path& folder, runtime::StateArena& arena,
                             const actors::Recipe& recipe) {
  StartingPoint start;
  start.history = runtime::read_journal(folder / "journal");
  start.notes = start.history.notes;
  if (!start.history.arithmetic.empty() && start.history.arithmetic != runtime::cpu_arithmetic) {
    throw std::runtime_error(folder.string() + " is of arithmetic " + start.history.arithmetic +
                             ", this program's is " + std::string(runtime::cpu_arithmetic));
  }
  start.from.commits = start.history.commits;
  start.from.hashes = start.history.hashes;
  start.bias.values.assign(static_cast<size_t>(recipe.moe_layers() * recipe.shape.experts), 0.0f);
  const auto manifest =
      load_newest(folder / "checkpoints", start.history, static_cast<uint64_t>(recipe.steps),
                  arena, start.notes);
  if (manifest) {
    start.from.record = manifest->record();
    start.bias.values.assign(manifest->record().bias().begin(), manifest->record().bias().end());
    start.bias.version = manifest->record().step();
    start.last.emplace();
    *start.last->mutable_record() = manifest->record();
    start.last->set_hash(manifest->state_hash());
    start.last->set_seconds(0);
    start.last->set_attempts(1);
  }
  const uint64_t state = start.from.record.step();
  if (!start.history.commits.empty()) {
    start.notes.push_back("going on from state " + std::to_string(state) + "; " +
                          std::to_string(start.history.commits.size() - state) +
                          " committed steps are done again");
  }
  return start;
}

}  // namespace troupe::deploy
