#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `recompute` to `troupe bench`. Errors are thrown.
void add_bench_recompute(CLI::App& bench);

}  // namespace troupe::deploy
