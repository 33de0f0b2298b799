// Where a command gets the cluster's secret from.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "runtime/cluster/join/secret.h"

namespace troupe::deploy {

constexpr const char* secret_variable = "TROUPE_SECRET";

/// --secret FILE.
CLI::Option* add_secret_option(CLI::App& command, std::string& file);

/// The file's text without white space at its end, or else that of TROUPE_SECRET; none: neither is
/// given. The variable is taken out of the environment. Throws ClusterError for a file that cannot be
/// read, or that others than its owner may read.
std::optional<runtime::Secret> cluster_secret(const std::string& file);

}  // namespace troupe::deploy
