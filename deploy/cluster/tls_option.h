// Certificates for the control plane, as leader and nodes are given them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "runtime/cluster/join/tls.h"

namespace troupe::deploy {

/// --tls-certificate, --tls-key, --tls-ca: all of them or none. The first of them.
CLI::Option* add_tls_options(CLI::App& command, runtime::TlsFiles& files, const std::string& group);

}  // namespace troupe::deploy
