#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe chaos`. Errors are thrown.
void add_chaos_command(CLI::App& app);

}  // namespace troupe::deploy
