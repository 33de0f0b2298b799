#include "deploy/train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "actors/train/timeline.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/state_checkpoint.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

/// A state of another format is not passed over: every one of the run is like it.
class OtherFormat : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void check_format(const runtime::CheckpointPlace& place,
                  const wire::CheckpointManifest& manifest, const runtime::StateFormat& wanted) {
  const runtime::StateFormat found = runtime::format_of(manifest);
  if (found == wanted) return;
  throw OtherFormat(place.folder.string() + " holds " + runtime::describe(found) +
                    ", train.optimizer.moments and ema_decay of run.textproto want " +
                    runtime::describe(wanted) + ": a resumed run keeps its recipe");
}

/// What stands there would be written over, step by step.
void check_is_of_this_run(const StartingPointArgs& args) {
  const fs::path folder = args.folder / "checkpoints";
  if (!args.history.commits.empty() || !fs::exists(folder)) return;
  for (const auto& place : runtime::list_checkpoints(folder)) {
    if (place.step == 0) continue;
    throw std::runtime_error(fmt::format(
        "{} holds a checkpoint of step {}, and the journal of {} no step at all: they are of another run, or "
        "the journal is lost; wanted an empty folder, or the journal", fs::canonical(folder).string(),
        place.step, args.folder.string()));
  }
}

/// Loads the newest good checkpoint; its manifest, or nothing.
std::optional<wire::CheckpointManifest> load_newest(const StartingPointArgs& args,
                                                    std::vector<std::string>& notes) {
  auto places = runtime::list_checkpoints(args.folder / "checkpoints");
  std::reverse(places.begin(), places.end());
  for (const auto& place : places) {
    if (place.step > args.newest_state) continue;
    try {
      const auto manifest = runtime::read_manifest(place.folder);
      check_format(place, manifest, args.arena.format());
      const std::string objection = objection_to(manifest, args.history);
      if (objection.empty()) return runtime::load_checkpoint(place.folder, args.arena);
      notes.push_back(place.folder.string() + " " + objection + ": not used");
    } catch (const OtherFormat&) {
      throw;
    } catch (const std::runtime_error& error) {
      notes.push_back(std::string(error.what()) + "; the one before is used");
    }
  }
  return std::nullopt;
}

}  // namespace

config::LoadedRun load_resumed_run(const fs::path& folder,
                                   std::span<const std::string> settings) {
  bool has_steps = false;
  for (const std::string& setting : settings) {
    const bool is_steps = setting.starts_with("train.steps=");
    if (!is_steps && !setting.starts_with("cluster.trace.")) {
      throw std::runtime_error("--set " + setting + ": a resumed run keeps its recipe, only train.steps may change, "
                               "and what is traced (cluster.trace)");
    }
    has_steps = has_steps || is_steps;
  }
  if (!fs::exists(folder / "run.textproto")) {
    throw std::runtime_error(folder.string() + " holds no run: found no run.textproto in it");
  }
  config::LoadedRun run = config::load_run(folder / "run.textproto", settings);
  if (has_steps && run.run.train().optimizer().decay() != config::Optimizer::CONSTANT) {
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

void keep_arithmetic(std::string_view begun_in, config::Train& train) {
  if (train.arithmetic() != config::Train::BY_DEVICE || begun_in.empty()) return;
  train.set_arithmetic(begun_in.starts_with("cpu.") ? config::Train::CPU : config::Train::SM_90A);
}

std::string recipe_objection(const actors::Recipe& recipe,
                             std::span<const wire::StepRecord> commits) {
  const actors::Timeline timeline(recipe);
  for (const wire::StepRecord& record : commits) {
    const actors::StepNumbers numbers = timeline.at(record.step());
    const uint64_t tokens = numbers.consumed_tokens + static_cast<uint64_t>(numbers.tokens());
    if (tokens != record.consumed_tokens()) {
      return fmt::format("step {} had consumed {} tokens, with this recipe they would be {}",
                         record.step(), record.consumed_tokens(), tokens);
    }
    if (numbers.learning_rate != record.learning_rate()) {
      return fmt::format("step {} had learning rate {}, with this recipe it would be {}",
                         record.step(), record.learning_rate(), numbers.learning_rate);
    }
    const auto scheduled = actors::scheduled_numbers(numbers);
    if (recipe.is_scheduled() &&
        scheduled.SerializeAsString() != record.scheduled().SerializeAsString()) {
      return fmt::format("step {} had {}, with this recipe it would have {}", record.step(),
                         record.scheduled().ShortDebugString(), scheduled.ShortDebugString());
    }
  }
  return {};
}

std::string objection_to(const wire::CheckpointManifest& manifest,
                         const runtime::JournalHistory& history) {
  const uint64_t step = manifest.record().step();
  if (step > history.commits.size()) return "is ahead of the journal";
  if (manifest.arithmetic() != history.arithmetic) {
    return "is of arithmetic " + manifest.arithmetic() + ", the journal is of " +
           history.arithmetic;
  }
  const bool is_other =
      step > 0 && !actors::replay_difference(manifest.record(), history.commits[step - 1]).empty();
  if (is_other) {
    return "is of another commit of step " + std::to_string(step) + " than the journal's";
  }
  const auto hash = history.hashes.find(step);
  if (hash == history.hashes.end() || hash->second == manifest.state_hash()) return {};
  return "has state hash " + runtime::to_hex(manifest.state_hash()) + ", the journal has " +
         runtime::to_hex(hash->second);
}

namespace {

/// At the initial state, with what the journal says.
StartingPoint at_the_beginning(const StartingPointArgs& args) {
  StartingPoint start;
  const std::string& arithmetic = args.history.arithmetic;
  const std::string own(name_of(args.recipe.arithmetic));
  if (!arithmetic.empty() && arithmetic != own) {
    throw std::runtime_error(args.folder.string() + " is of arithmetic " + arithmetic +
                             ", with these settings it would go on in " + own +
                             " (--device, train.arithmetic)");
  }
  const std::string objection = recipe_objection(args.recipe, args.history.commits);
  if (!objection.empty()) {
    throw std::runtime_error(args.folder.string() + ": run.textproto is not that of the journal: " +
                             objection);
  }
  start.notes = args.history.notes;
  start.from.commits = args.history.commits;
  start.from.hashes = args.history.hashes;
  start.bias.values.assign(
      static_cast<size_t>(args.recipe.moe_layers() * args.recipe.shape.experts), 0.0f);
  return start;
}

}  // namespace

StartingPoint starting_point(StartingPointArgs args) {
  check_is_of_this_run(args);
  StartingPoint start = at_the_beginning(args);
  const auto manifest = load_newest(args, start.notes);
  start.history = std::move(args.history);
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

StartingPoint takeover_point(StartingPointArgs args) {
  StartingPoint start = at_the_beginning(args);
  const auto& commits = start.from.commits;
  start.from.open_commit = commits.back();
  if (commits.size() > 1) {
    const wire::StepRecord& before = commits[commits.size() - 2];
    start.from.record = before;
    start.bias.values.assign(before.bias().begin(), before.bias().end());
    start.bias.version = before.step();
  }
  start.history = std::move(args.history);
  return start;
}

StartingPoint regroup_point(StartingPointArgs args) {
  StartingPoint start = at_the_beginning(args);
  const wire::StepRecord& record = start.from.commits.back();
  start.from.record = record;
  start.bias.values.assign(record.bias().begin(), record.bias().end());
  start.bias.version = record.step();
  start.last.emplace();
  *start.last->mutable_record() = record;
  const auto hash = start.from.hashes.find(record.step());
  if (hash != start.from.hashes.end()) start.last->set_hash(hash->second);
  start.last->set_attempts(1);
  start.history = std::move(args.history);
  return start;
}

}  // namespace troupe::deploy
