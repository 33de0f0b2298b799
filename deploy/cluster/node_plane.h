#pragma once

#include <memory>
#include <string>

#include "runtime/data_plane/data_plane.h"

namespace troupe::deploy {

/// The data plane of one process of a run: shared memory and TCP; TCP on the loopback device alone if
/// the run's processes reach each other at a loopback address. UCX_TLS and UCX_NET_DEVICES choose
/// others, as everywhere with UCX. Throws DataPlaneError.
std::unique_ptr<runtime::DataPlane> make_node_plane(const std::string& host,
                                                    runtime::PlaneEvents events);

}  // namespace troupe::deploy
