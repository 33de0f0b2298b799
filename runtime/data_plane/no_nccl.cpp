#include "runtime/data_plane/device_group.h"

namespace troupe::runtime {

std::string why_no_nccl() {
  return "this build has no NCCL: no CUDA or no nccl.h was found, or TROUPE_NCCL was OFF";
}

std::string new_nccl_id() { throw DataPlaneError(why_no_nccl()); }

std::unique_ptr<DeviceGroup> make_nccl_group(const GroupOptions&) { throw DataPlaneError(why_no_nccl()); }

}  // namespace troupe::runtime
