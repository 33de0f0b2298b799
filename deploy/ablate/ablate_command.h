#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe ablate`. Errors are thrown.
void add_ablate_command(CLI::App& app);

}  // namespace troupe::deploy
