#include "deploy/records/replay_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "actors/launch.h"
#include "deploy/options/option_checks.h"
#include "deploy/train/resume.h"
#include "deploy/train/run_setup.h"
#include "deploy/train/training_data.h"
#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"
#include "runtime/state/unit_file.h"

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
record and hash must be the recorded one; exit code 1 with the first difference. Writes nothing.
Of a run with train.unit_hashes the first unit of work that differs is named.)";

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

/// Compares the units of a step with those on record. Throws with the first one that differs.
void compare_units(const fs::path& run, const wire::StepUnits& now) {
  try {
    const auto recorded = runtime::read_units(run / "units", now.step());
    const std::string difference = runtime::first_difference(recorded, now);
    if (!difference.empty()) {
      throw std::runtime_error(
          fmt::format("step {}, first difference: {}", now.step(), difference));
    }
    std::cout << "step " << now.step() << "  its " << now.units_size()
              << " units: the recorded ones" << std::endl;
  } catch (const runtime::UnitError& error) {
    std::cout << "note: " << error.what() << "; its units are not compared" << std::endl;
  } catch (const runtime::CheckpointError& error) {
    std::cout << "note: " << error.what() << "; its units are not compared" << std::endl;
  }
}

/// The same for the steps that have been committed since the last call.
void compare_committed(const fs::path& run, const actors::Company& company) {
  while (company.units) {
    const auto now = company.units->oldest();
    if (!now) return;
    company.units->drop(now->step());
    compare_units(run, *now);
  }
}

/// Of a step that did not come to its record, the first unit that differs. Units of a step that an
/// error of another kind ended are not all there, and say nothing.
void explain(const fs::path& run, const actors::Company& company, const std::exception& error) {
  if (!company.units) return;
  const wire::StepUnits now = company.units->newest();
  const auto sums = std::count_if(now.units().begin(), now.units().end(), [](const auto& unit) {
    return unit.kind() == wire::UnitHash::GRADIENT_SUM;
  });
  if (sums == 0 || static_cast<size_t>(sums) != company.arena.blocks().size()) return;
  std::cout << "note: " << error.what() << std::endl;
  compare_units(run, now);
}

void replay(const Options& options) {
  const fs::path folder = options.run;
  config::LoadedRun run = load_resumed_run(folder, {});
  runtime::JournalHistory history = read_history(folder, options.step);
  keep_arithmetic(history.arithmetic, *run.run.mutable_train());
  const RunSetup setup = set_up_run(std::move(run));
  check_memory(setup);
  const TrainingData data = read_training_data(setup.run, setup.model.model);
  const auto recipe =
      actors::make_recipe(setup.run.run, runtime::model_shape(setup.model.model));
  runtime::StateArena arena(kernels::parameters(recipe.shape), actors::state_format(recipe));
  StartingPoint start = starting_point({.folder = folder,
                                        .history = std::move(history),
                                        .arena = arena,
                                        .recipe = recipe,
                                        .newest_state = options.step - 1});
  for (const std::string& note : start.notes) std::cout << "note: " << note << "\n" << std::flush;
  if (start.from.record.step() == 0) start.bias = initial_state(setup, recipe, arena);
  kernels::ThreadPool pool(setup.plan.threads);
  const actors::Timeline timeline(recipe);
  auto company = std::make_shared<actors::Company>(
      recipe, setup.plan, arena, pool,
      [&](uint64_t step) { return data.step(timeline.at(step)); }, 0,
      // The CPU checks what a GPU has computed, where its bits are the CPU's.
      recipe.arithmetic == kernels::Arithmetic::cpu ? kernels::Device::cpu
                                                    : kernels::Device::cuda);
  if (setup.run.run.train().unit_hashes()) company->record_units();
  actors::Troupe troupe({.company = company,
                         .options = {.hash_every = setup.run.run.train().hash_every(),
                                     .eval_every = 0,
                                     .checkpoint_every = 0,
                                     .last_step = static_cast<int64_t>(options.step)},
                         .bias = start.bias,
                         .from = start.from,
                         .storage = nullptr,
                         .documents = {}});
  try {
    troupe.run({.step_done =
                    [&](const wire::StepDone& done) {
                      compare_committed(folder, *company);
                      print(done, recorded_hash(folder, start.history, done.record().step()));
                    },
                .evaluated = {},
                .alarm = {}});
  } catch (const actors::RunError& error) {
    explain(folder, *company, error);
    throw;
  }
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
