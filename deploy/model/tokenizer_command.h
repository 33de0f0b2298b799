#pragma once

#include <CLI/App.hpp>

namespace troupe::deploy {

/// Adds `troupe tokenizer train|pack|encode|decode`. Errors are thrown.
void add_tokenizer_command(CLI::App& app);

}  // namespace troupe::deploy
