#include "runtime/data_plane/data_plane.h"

namespace troupe::runtime {

std::unique_ptr<DataPlane> make_ucx_plane(const PlaneOptions&, PlaneEvents) {
  throw DataPlaneError(why_no_ucx());
}

std::string why_no_ucx() {
  return "this build has no UCX: libucx-dev was not found, or TROUPE_UCX was OFF";
}

}  // namespace troupe::runtime
