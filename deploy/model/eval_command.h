#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe eval`. Errors are thrown.
void add_eval_command(CLI::App& app);

}  // namespace troupe::deploy
