// Memory that tensors are received into, used again and again: of the host, registered with UCX once, or of
// the GPU, from where all its buffers come.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/data_plane/ucx_context.h"

namespace troupe::runtime {

/// Thread-safe; memory comes back from whatever thread lets it go last, also after the plane.
class UcxMemory : public std::enable_shared_from_this<UcxMemory> {
 public:
  struct Region {
    void* data;
    ucp_mem_h handle;
    size_t bytes;
  };
  struct Taken {
    TensorRef tensor;  ///< [bytes] of the device, not initialised
    ucp_mem_h handle;  ///< null: UCX registers it itself
  };

  UcxMemory(std::shared_ptr<const UcxContext> context, uint64_t kept_bytes)
      : context_(std::move(context)), kept_limit_(kept_bytes) {}
  ~UcxMemory();

  /// Throws DataPlaneError if UCX gives none, KernelError where there is no GPU.
  Taken take(kernels::Device device, uint64_t bytes);

 private:
  Region map(size_t bytes) const;
  void unmap(const Region& region) const;
  void give(const Region& region);

  const std::shared_ptr<const UcxContext> context_;
  const uint64_t kept_limit_;
  std::mutex mutex_;
  std::map<size_t, std::vector<Region>> kept_;  // by bytes
  uint64_t kept_bytes_ = 0;
};

}  // namespace troupe::runtime
