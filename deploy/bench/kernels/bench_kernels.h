#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `kernels` to `troupe bench`. Errors are thrown.
void add_bench_kernels(CLI::App& bench);

}  // namespace troupe::deploy
