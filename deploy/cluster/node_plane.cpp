#include "deploy/cluster/node_plane.h"

#include <cstdlib>

#include "runtime/cluster/join/endpoint.h"

namespace troupe::deploy {

std::unique_ptr<runtime::DataPlane> make_node_plane(const std::string& host,
                                                    runtime::PlaneEvents events) {
  const auto chosen = [](const char* variable, const char* otherwise) {
    const char* value = std::getenv(variable);
    return std::string(value != nullptr ? value : otherwise);
  };
  runtime::PlaneOptions options;
  options.transports = chosen("UCX_TLS", "");
  options.network = chosen("UCX_NET_DEVICES", runtime::is_loopback(host) ? "lo" : "");
  return runtime::make_ucx_plane(options, std::move(events));
}

}  // namespace troupe::deploy
