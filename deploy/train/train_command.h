#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe train RUN`. Errors are thrown.
void add_train_command(CLI::App& app);

}  // namespace troupe::deploy
