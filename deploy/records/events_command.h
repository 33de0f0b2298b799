#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe events`. Errors are thrown.
void add_events_command(CLI::App& app);

}  // namespace troupe::deploy
