#include "runtime/data_plane/ucx_memory.h"

#include <algorithm>
#include <bit>
#include <new>

#include "kernels/buffer.h"

namespace troupe::runtime {
namespace {

/// Quarters of a power of two, in whole pages, so that regions fit again.
size_t size_class(uint64_t bytes) {
  const size_t step = std::max<size_t>(4096, std::bit_floor(bytes) / 4);
  return (std::max<size_t>(bytes, 1) + step - 1) / step * step;
}

}  // namespace

UcxMemory::~UcxMemory() {
  for (const auto& [bytes, regions] : kept_) {
    for (const Region& region : regions) unmap(region);
  }
}

UcxMemory::Taken UcxMemory::take(kernels::Device device, uint64_t bytes) {
  if (device == kernels::Device::cuda) {
    try {
      const kernels::Buffer buffer =
          kernels::allocate(device, kernels::DType::f8_e4m3, {static_cast<int64_t>(bytes)});
      return {{buffer.view, buffer.memory}, nullptr};
    } catch (const std::bad_alloc&) {
      throw DataPlaneError("no memory of this process's GPU for a tensor of " + std::to_string(bytes) +
                           " bytes that arrives");
    }
  }
  const size_t size = size_class(bytes);
  Region region{};
  {
    std::lock_guard lock(mutex_);
    auto& kept = kept_[size];
    if (!kept.empty()) {
      region = kept.back();
      kept.pop_back();
      kept_bytes_ -= size;
    }
  }
  if (region.data == nullptr) region = map(size);
  Taken taken;
  taken.handle = region.handle;
  taken.tensor.view.data = region.data;
  taken.tensor.view.device = device;
  taken.tensor.owner = std::shared_ptr<const void>(
      region.data, [self = shared_from_this(), region](const void*) { self->give(region); });
  return taken;
}

UcxMemory::Region UcxMemory::map(size_t bytes) const {
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH | UCP_MEM_MAP_PARAM_FIELD_FLAGS |
                      UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE;
  params.length = bytes;
  params.flags = UCP_MEM_MAP_ALLOCATE;
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  Region region{nullptr, nullptr, bytes};
  check_ucx(ucp_mem_map(context_->handle(), &params, &region.handle),
            "memory of " + std::to_string(bytes) + " bytes for tensors that arrive");
  ucp_mem_attr_t attributes{};
  attributes.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS;
  const ucs_status_t status = ucp_mem_query(region.handle, &attributes);
  if (status != UCS_OK) unmap(region);
  check_ucx(status, "ucp_mem_query");
  region.data = attributes.address;
  return region;
}

void UcxMemory::unmap(const Region& region) const {
  ucp_mem_unmap(context_->handle(), region.handle);
}

void UcxMemory::give(const Region& region) {
  {
    std::lock_guard lock(mutex_);
    if (kept_bytes_ + region.bytes <= kept_limit_) {
      kept_[region.bytes].push_back(region);
      kept_bytes_ += region.bytes;
      return;
    }
  }
  unmap(region);
}

}  // namespace troupe::runtime
