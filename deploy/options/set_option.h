// --set, as every command has it that reads a run file.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace troupe::deploy {

/// Repeated; each takes one FIELD=VALUE.
inline CLI::Option* add_set_option(CLI::App& command, std::vector<std::string>& settings,
                                   const std::string& text) {
  return command.add_option("--set", settings, text)
      ->take_all()->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace troupe::deploy
