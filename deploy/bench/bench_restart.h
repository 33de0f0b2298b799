#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `restart` to `troupe bench`. Errors are thrown.
void add_bench_restart(CLI::App& bench);

}  // namespace troupe::deploy
