#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe replay`. Errors are thrown.
void add_replay_command(CLI::App& app);

}  // namespace troupe::deploy
