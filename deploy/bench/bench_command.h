#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe bench` with all that it measures. Errors are thrown.
void add_bench_command(CLI::App& app);

}  // namespace troupe::deploy
