#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe convert`. Errors are thrown.
void add_convert_command(CLI::App& app);

}  // namespace troupe::deploy
