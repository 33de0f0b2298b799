#include "deploy/cluster/node_plane.h"

#include "runtime/cluster/endpoint.h"

namespace troupe::deploy {

std::unique_ptr<runtime::DataPlane> make_node_plane(const std::string& host,
                                                    runtime::PlaneEvents events) {
  runtime::PlaneOptions options;
  if (runtime::is_loopback(host)) options.network = "lo";
  return runtime::make_ucx_plane(options, std::move(events));
}

}  // namespace troupe::deploy
