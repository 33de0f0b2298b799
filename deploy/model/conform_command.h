#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe conform CASE`. Errors are thrown.
void add_conform_command(CLI::App& app);

}  // namespace troupe::deploy
