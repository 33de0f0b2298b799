#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe generate`. Errors are thrown.
void add_generate_command(CLI::App& app);

}  // namespace troupe::deploy
