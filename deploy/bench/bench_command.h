#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe bench step`, `bench operators` and `bench restart`. Errors are thrown.
void add_bench_command(CLI::App& app);

}  // namespace troupe::deploy
