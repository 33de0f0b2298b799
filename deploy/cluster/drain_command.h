#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe drain`. Errors are thrown.
void add_drain_command(CLI::App& app);

}  // namespace troupe::deploy
