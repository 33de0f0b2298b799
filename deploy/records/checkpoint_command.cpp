#include "deploy/records/checkpoint_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "actors/inference/model_folder.h"
#include "deploy/options/option_checks.h"
#include "deploy/records/checkpoint_list.h"
#include "deploy/train/resume.h"
#include "deploy/train/run_state.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/state_checkpoint.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string run;
  std::optional<uint64_t> step;
  std::string out;
  bool takes_ema = false;
  bool is_json = false;
};

constexpr const char* list_examples = R"(Examples:
  troupe checkpoint ls runs/first
  troupe checkpoint ls runs/first --json

The journal knows a checkpoint if it has the commit that made the state, and no other hash of it:
only such a one is gone on from.)";

constexpr const char* verify_examples = R"(Examples:
  troupe checkpoint verify runs/first
  troupe checkpoint verify runs/first --step 50

Reads every byte. Exit code 1 if a file is missing, cut or altered, or the journal has another
state.)";

constexpr const char* export_examples = R"(Examples:
  troupe checkpoint export runs/first --out my_model
  troupe checkpoint export runs/first --step 50 --out my_model
  troupe checkpoint export runs/first --ema --out my_average)";

void list(const Options& options) {
  const auto checkpoints = read_checkpoints(options.run);
  if (options.is_json) {
    auto json = nlohmann::ordered_json::array();
    for (const ListedCheckpoint& checkpoint : checkpoints) json.push_back(to_json(checkpoint));
    std::cout << json.dump(2) << std::endl;
    return;
  }
  if (checkpoints.empty()) std::cout << options.run << " holds no checkpoint\n";
  std::cout << to_table(checkpoints) << std::flush;
}

/// Says what a whole checkpoint's hash is compared with.
std::string hash_text(const wire::CheckpointManifest& manifest,
                      const runtime::JournalHistory& history) {
  const bool is_journaled = history.hashes.contains(manifest.record().step());
  return fmt::format("hash {}: {}", runtime::to_hex(manifest.state_hash()),
                     is_journaled ? "the journal's" : "the journal has none of this state");
}

/// Prints what was found; true if nothing is wrong.
bool is_good(const runtime::CheckpointPlace& place, const runtime::JournalHistory& history) {
  std::vector<std::string> damage;
  std::string hash;
  try {
    const wire::CheckpointManifest manifest = runtime::read_manifest(place.folder);
    damage = runtime::find_damage(place.folder, manifest);
    const std::string objection = objection_to(manifest, history);
    if (!objection.empty()) damage.push_back(place.folder.string() + " " + objection);
    hash = hash_text(manifest, history);
  } catch (const std::runtime_error& error) {
    damage.push_back(error.what());
  }
  if (!damage.empty() && !fs::exists(place.folder)) {
    std::cout << "step " << place.step << "  " << removed_text(place) << "\n";
    return true;
  }
  for (const std::string& line : damage) std::cout << "step " << place.step << "  " << line << "\n";
  if (damage.empty()) std::cout << "step " << place.step << "  whole  " << hash << "\n";
  std::cout << std::flush;
  return damage.empty();
}

void verify(const Options& options) {
  // Places before the journal: what is saved has been journaled before.
  const auto places = options.step ? std::vector{checkpoint_of(options.run, options.step)}
                                   : checkpoints_of(options.run);
  if (places.empty()) {
    throw std::runtime_error(options.run + " holds no checkpoint, wanted one to verify");
  }
  const auto history = runtime::read_journal(fs::path(options.run) / "journal");
  size_t bad = 0;
  for (const runtime::CheckpointPlace& place : places) bad += !is_good(place, history);
  if (bad > 0) {
    throw std::runtime_error(
        fmt::format("{} of {} checkpoints cannot be used", bad, places.size()));
  }
}

void export_folder(const Options& options) {
  const RunState state = load_state({options.run, options.step, options.takes_ema});
  const actors::LoadedModel& model = state.model;
  const auto tokenizer = runtime::Tokenizer::load(fs::path(options.run) / "tokenizer.json");
  actors::export_model({.folder = options.out,
                        .model = model.model,
                        .arena = *model.arena,
                        .state = model.state,
                        .routing_bias = model.routing_bias,
                        .tokenizer = &tokenizer,
                        .context = model.context,
                        .takes_ema = model.reads_ema});
  std::cout << options.out << ": the " << (model.reads_ema ? "EMA" : "model") << " of step "
            << model.state << ", state hash " << runtime::to_hex(state.hash) << std::endl;
}

CLI::App* add(CLI::App& parent, const std::string& name, const std::string& purpose,
              Options& options) {
  CLI::App* command = parent.add_subcommand(name, purpose);
  command->add_option("RUN_FOLDER", options.run, "folder of a run")->required();
  return command;
}

void add_step(CLI::App& command, Options& options, const std::string& otherwise) {
  command.add_option("--step", options.step, "of which step; default: " + otherwise)
      ->check(is_natural);
}

}  // namespace

void add_checkpoint_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* checkpoint =
      app.add_subcommand("checkpoint", "Look at a run's checkpoints, or use one");
  checkpoint->require_subcommand(1);
  checkpoint->footer("All of them only read, also while the run goes on.");

  CLI::App* ls = add(*checkpoint, "ls", "list the checkpoints", *options);
  ls->add_flag("--json", options->is_json, "a JSON list");
  ls->footer(list_examples);
  ls->callback([options] { list(*options); });

  CLI::App* check = add(*checkpoint, "verify", "read every byte and compare", *options);
  add_step(*check, *options, "all");
  check->footer(verify_examples);
  check->callback([options] { verify(*options); });

  CLI::App* exported =
      add(*checkpoint, "export", "make a Hugging Face folder of a state", *options);
  add_step(*exported, *options, "the newest");
  exported->add_option("--out", options->out, "the folder; it must not exist")->required();
  exported->add_flag("--ema", options->takes_ema,
                     "the moving average of the weights (train.optimizer.ema_decay)");
  exported->footer(export_examples);
  exported->callback([options] { export_folder(*options); });
}

}  // namespace troupe::deploy
