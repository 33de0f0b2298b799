// Reads a run file and the model it names.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "config/proto/model.pb.h"
#include "config/proto/run.pb.h"
#include "config/text/origins.h"

namespace troupe::config {

struct LoadedRun {
  Run run;          ///< paths expanded and found
  Origins origins;  ///< where the fields of `run` were written
  std::filesystem::path file;
  std::string name;  ///< the file's name without its ending
};

struct LoadedModel {
  Model model;
  Origins origins;
};

/// Reads a run textproto and applies the settings ("train.steps=200"). Throws ConfigError. Values
/// are checked by validate().
LoadedRun load_run(const std::filesystem::path& file, std::span<const std::string> settings = {});

/// Reads a model textproto.
LoadedModel load_model(const std::filesystem::path& file);

/// The model of a run whose `model.file` is set, with the changes of `model.with`.
LoadedModel model_of(const LoadedRun& run);

/// `base`, which came from the run's Hugging Face folder, with the changes of `model.with`.
LoadedModel with_changes(LoadedModel base, const LoadedRun& run);

}  // namespace troupe::config
