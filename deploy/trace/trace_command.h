#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe trace`. Errors are thrown.
void add_trace_command(CLI::App& app);

}  // namespace troupe::deploy
