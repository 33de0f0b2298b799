#include "deploy/train/run_state.h"

#include <fmt/format.h>

#include "config/phases.h"
#include "config/validate.h"
#include "deploy/options/option_checks.h"
#include "deploy/process/machine.h"
#include "deploy/records/checkpoint_list.h"
#include "deploy/train/resume.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/model_shape.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

/// Throws before memory is taken that is not there.
void check_size(const runtime::CheckpointPlace& place, const wire::CheckpointManifest& manifest,
                const std::vector<kernels::ParameterSpec>& specs) {
  int64_t parameters = 0;
  for (const kernels::ParameterSpec& spec : specs) parameters += spec.count();
  if (manifest.parameters() != static_cast<uint64_t>(parameters)) {
    throw std::runtime_error(fmt::format("{} holds {} parameters, model.textproto's model has {}",
                                         place.folder.string(), manifest.parameters(), parameters));
  }
  const double needed =
      static_cast<double>(runtime::bytes_per_parameter(runtime::format_of(manifest))) *
      static_cast<double>(parameters);
  if (needed > static_cast<double>(memory_bytes())) {
    throw std::runtime_error(fmt::format("{} needs {:.1f} GiB of memory, this machine has {:.1f}",
                                         place.folder.string(), needed / 0x1p30,
                                         static_cast<double>(memory_bytes()) / 0x1p30));
  }
}

RunState read_state(const ModelChoice& choice, const runtime::CheckpointPlace& place) {
  const fs::path folder = choice.folder;
  const config::LoadedModel model = config::load_model(folder / "model.textproto");
  config::validate(model);
  const config::Run run = load_resumed_run(folder, {}).run;
  const config::Model stretched = config::model_at(run, model.model, place.step);
  RunState state{{.model = stretched,
                  .recipe = actors::make_recipe(run, runtime::model_shape(stretched)),
                  .arena = nullptr, .routing_bias = {}, .notes = {}, .state = place.step,
                  .reads_ema = choice.takes_ema}, 0};
  const auto specs = kernels::parameters(state.model.recipe.shape);
  wire::CheckpointManifest manifest = runtime::read_manifest(place.folder);
  const runtime::StateFormat format = runtime::format_of(manifest);
  if (choice.takes_ema && !format.has_ema) {
    throw std::runtime_error("--ema: " + place.folder.string() + " holds " +
                             runtime::describe(format) +
                             ", wanted an EMA as well (train.optimizer.ema_decay)");
  }
  check_size(place, manifest, specs);
  state.model.arena = std::make_unique<runtime::StateArena>(specs, format);
  manifest = runtime::load_checkpoint(place.folder, *state.model.arena);
  const auto& bias = manifest.record().bias();
  state.model.routing_bias.assign(bias.begin(), bias.end());
  state.model.context = config::seq_len_at(run, model.model, place.step);
  state.hash = manifest.state_hash();
  return state;
}

}  // namespace

void add_state_options(CLI::App& command, ModelChoice& choice) {
  command.add_option("--step", choice.step, "of a run: which checkpoint; default: the newest")
      ->check(is_natural);
  command.add_flag("--ema", choice.takes_ema,
                   "of a run: the moving average of its weights (train.optimizer.ema_decay)");
}

bool is_run_folder(const fs::path& folder) { return fs::exists(folder / "run.textproto"); }

void check_choice(const ModelChoice& choice) {
  if (is_run_folder(choice.folder) || !(choice.step || choice.takes_ema)) return;
  throw std::runtime_error(fmt::format("{}: found {}, which is no run folder, wanted one",
                                       choice.step ? "--step" : "--ema", choice.folder));
}

RunState load_state(const ModelChoice& choice) {
  const runtime::CheckpointPlace place = checkpoint_of(choice.folder, choice.step);
  try {
    return read_state(choice, place);
  } catch (const std::runtime_error&) {
    if (fs::exists(place.folder)) throw;
    throw std::runtime_error(place.folder.string() + " " + removed_text(place));
  }
}

actors::LoadedModel load_model(const ModelChoice& choice) {
  check_choice(choice);
  if (is_run_folder(choice.folder)) return load_state(choice).model;
  return actors::load_model_folder(choice.folder);
}

}  // namespace troupe::deploy
