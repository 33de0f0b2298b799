#pragma once

#include <CLI/CLI.hpp>

namespace troupe::deploy {

/// `troupe needle test`, `troupe needle write`.
void add_needle_command(CLI::App& app);

}  // namespace troupe::deploy
