#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe ps`. Errors are thrown.
void add_ps_command(CLI::App& app);

}  // namespace troupe::deploy
