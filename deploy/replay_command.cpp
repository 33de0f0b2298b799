#include "deploy/replay_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "actors/launch.h"
#include "deploy/option_checks.h"
#include "deploy/resume.h"
#include "deploy/run_setup.h"
#include "deploy/training_data.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string run;
  uint64_t step = 0;
};

constexpr const char* examples = R"(Example:
  troupe replay runs/first --step 120

Loads the newest checkpoint before step N, or state 0, and does the steps up to N again. Every
record and hash must be the recorded one; exit code 1 with the first difference. Writes nothing.)";

/// The journal up to step N.
runtime::JournalHistory read_history(const fs::path& run, uint64_t step) {
  auto history = runtime::read_journal(run / "journal");
  if (step < 1 || step > history.commits.size()) {
    throw std::runtime_error(fmt::format("--step {}: {} has committed {} steps, wanted one of them",
                                         step, run.string(), history.commits.size()));
  }
  history.commits.resize(step);
  return history;
}

/// The hash of state N that is on record: the journal's, or that of a checkpoint which the journal
/// knows.
std::optional<uint64_t> recorded_hash(const fs::path& run, const runtime::JournalHistory& history,
                                      uint64_t step) {
  const auto journaled = history.hashes.find(step);
  if (journaled != history.hashes.end()) return journaled->second;
  const fs::path checkpoint = run / "checkpoints" / ("step-" + std::to_string(step));
  if (!fs::exists(checkpoint)) return std::nullopt;
  try {
    const auto manifest = runtime::read_manifest(checkpoint);
    if (objection_to(manifest, history).empty()) return manifest.state_hash();
  } catch (const std::runtime_error& error) {
    std::cout << "note: " << error.what() << "; its hash is not compared\n";
  }
  return std::nullopt;
}

/// A step that came to its record. The coordinator has compared what the journal has.
void print(const wire::StepDone& done, std::optional<uint64_t> recorded) {
  const uint64_t step = done.record().step();
  if (!done.has_hash()) {
    std::cout << "step " << step << "  its record: the recorded one" << std::endl;
    return;
  }
  const std::string hash = runtime::to_hex(done.hash());
  if (recorded && *recorded != done.hash()) {
    throw std::runtime_error(fmt::format("state {} has hash {}, its checkpoint has {}", step, hash,
                                         runtime::to_hex(*recorded)));
  }
  const char* compared =
      recorded ? "the recorded one" : "none was recorded; its record is the recorded one";
  std::cout << "step " << step << "  hash " << hash << ": " << compared << std::endl;
}

void replay(const Options& options) {
  const fs::path folder = options.run;
  const RunSetup setup = set_up_run(load_resumed_run(folder, {}));
  runtime::JournalHistory history = read_history(folder, options.step);
  check_memory(setup);
  const TrainingData data = read_training_data(setup.run, setup.model.model);
  const auto recipe =
      actors::make_recipe(setup.run.run, runtime::model_shape(setup.model.model));
  runtime::StateArena arena(kernels::parameters(recipe.shape));
  StartingPoint start = starting_point({.folder = folder,
                                        .history = std::move(history),
                                        .arena = arena,
                                        .recipe = recipe,
                                        .newest_state = options.step - 1});
  for (const std::string& note : start.notes) std::cout << "note: " << note << "\n" << std::flush;
  if (start.from.record.step() == 0) start.bias = initial_state(setup, recipe, arena);
  kernels::ThreadPool pool(setup.plan.threads);
  auto company = std::make_shared<actors::Company>(
      recipe, setup.plan, arena, pool, [&](uint64_t step) { return data.step(recipe, step); });
  actors::Troupe troupe({.company = company,
                         .options = {.hash_every = setup.run.run.train().hash_every(),
                                     .eval_every = 0,
                                     .checkpoint_every = 0,
                                     .last_step = static_cast<int64_t>(options.step)},
                         .bias = start.bias,
                         .from = start.from,
                         .storage = nullptr,
                         .documents = {}});
  troupe.run({.step_done =
                  [&](const wire::StepDone& done) {
                    print(done, recorded_hash(folder, start.history, done.record().step()));
                  },
              .evaluated = {},
              .alarm = {}});
}

}  // namespace

void add_replay_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("replay", "Do a step of a run again, and compare");
  command->add_option("RUN_FOLDER", options->run, "folder of a run")->required();
  command->add_option("--step", options->step, "up to which step")->required()->check(is_natural);
  command->footer(examples);
  command->callback([options] { replay(*options); });
}

}  // namespace troupe::deploy
