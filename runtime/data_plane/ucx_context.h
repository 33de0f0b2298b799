// UCX's library, set up the way Troupe needs it.
#pragma once

#include <ucp/api/ucp.h>

#include <memory>
#include <string>

#include "runtime/data_plane/data_plane.h"

namespace troupe::runtime {

/// Throws DataPlaneError "what: UCX's words" unless the status is UCS_OK.
void check_ucx(ucs_status_t status, const std::string& what);

/// Where tensors of a device lie, for UCX.
ucs_memory_type_t memory_type_of(kernels::Device device);

/// A context; what was registered with it holds it.
class UcxContext {
 public:
  /// Throws DataPlaneError if there are no such transports or devices.
  explicit UcxContext(const PlaneOptions& options);
  ~UcxContext() { ucp_cleanup(handle_); }
  UcxContext(const UcxContext&) = delete;
  UcxContext& operator=(const UcxContext&) = delete;

  /// Whether UCX has transports for memory of GPUs, and there is one.
  bool knows_gpu_memory() const { return knows_gpu_memory_; }
  ucp_context_h handle() const { return handle_; }

 private:
  ucp_context_h handle_ = nullptr;
  bool knows_gpu_memory_ = false;
};

/// How a peer finds a plane: magic, the plane's number, UCX's version, a checksum, then the
/// worker's address, which UCX itself does not check.
struct PlaneAddress {
  uint64_t plane;
  std::string worker;
  bool carries_gpu_memory = false;
};
std::string to_bytes(const PlaneAddress& address);
/// Throws DataPlaneError if these are no such bytes, or those of another version of UCX.
PlaneAddress plane_address(const std::string& bytes);

/// A number that no other plane has.
uint64_t new_plane_number();

/// Where an endpoint is closed while it reads from another process by CMA, UCX 1.13 may keep the read in a list, and
/// ends the process with an assertion when the worker is destroyed. 1.22 does not.
bool aborts_with_cut_reads();
/// A worker that is not destroyed, and what it needs. Nobody progresses it any more; its process has few of them.
void keep_for_good(ucp_worker_h worker, std::shared_ptr<const UcxContext> context);

}  // namespace troupe::runtime
