// Small configurations for the tests of config/.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/load.h"
#include "config/text/errors.h"

namespace troupe::config {

inline std::filesystem::path source_file(const std::string& name) {
  return std::filesystem::path(TROUPE_SOURCE_DIR) / name;
}

/// config/runs/pretrain_tiny.textproto with settings.
inline LoadedRun tiny_run(const std::vector<std::string>& settings = {}) {
  return load_run(source_file("config/runs/pretrain_tiny.textproto"), settings);
}

inline LoadedModel model_file(const std::string& name) {
  return load_model(source_file("config/models/" + name + ".textproto"));
}

/// The text of the ConfigError that `call` throws; empty if it throws none.
template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace troupe::config
