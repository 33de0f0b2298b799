#pragma once

#include <CLI/CLI.hpp>

namespace troupe::deploy {

/// `troupe node`: one process of a run that another leads.
void add_node_command(CLI::App& app);

}  // namespace troupe::deploy
