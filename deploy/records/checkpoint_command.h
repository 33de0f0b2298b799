#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe checkpoint`. Errors are thrown.
void add_checkpoint_command(CLI::App& app);

}  // namespace troupe::deploy
