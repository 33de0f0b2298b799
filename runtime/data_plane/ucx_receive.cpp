// What comes to a worker.
#include <algorithm>
#include <cstring>

#include "runtime/data_plane/ucx_messages.h"

namespace troupe::runtime {
namespace {

/// Tensors that are fetched from a peer at a time. What the processor reads is read no faster for being
/// more, and comes to its receiver later, when caches have lost it; the GPU's copies begin and end while others
/// of them go on.
size_t receives_at_once(uint32_t device) {
  return device == static_cast<uint32_t>(kernels::Device::cuda) ? 8 : 2;
}

}  // namespace

bool UcxWorker::is_reading_gpu() const {
  return std::any_of(receives_.begin(), receives_.end(), [](const Receive* receive) {
    return receive->memory.view.device == kernels::Device::cuda;
  });
}

/// Reads the header of a message and handles it; exceptions must not run through UCX.
template <class Header, class Handle>
ucs_status_t UcxWorker::guarded(void* self, const void* bytes, size_t length, Handle handle) {
  auto* worker = static_cast<UcxWorker*>(self);
  Header header{};
  if (length != sizeof header) return UCS_ERR_INVALID_PARAM;  // from no plane that could be named
  std::memcpy(&header, bytes, sizeof header);
  if (!worker->endpoints_.contains(header.plane)) return UCS_ERR_REJECTED;
  try {
    return handle(*worker, header);
  } catch (const std::exception& error) {
    worker->listener_.failed(header.plane, error.what());
    return UCS_ERR_REJECTED;
  }
}

ucs_status_t UcxWorker::on_parcel(void* self, const void* header, size_t header_bytes, void* data,
                                  size_t length, const ucp_am_recv_param_t* params) {
  const bool is_there = (params->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  const ucs_status_t status = guarded<ParcelHeader>(
      self, header, header_bytes, [&](UcxWorker& worker, const ParcelHeader& parcel) {
        if (!is_there) throw DataPlaneError("a packed parcel came by rendezvous");
        worker.listener_.parcel(parcel, {static_cast<const char*>(data), length});
        return UCS_OK;
      });
  return is_there ? UCS_OK : status;
}

ucs_status_t UcxWorker::on_tensor(void* self, const void* header, size_t header_bytes, void* data,
                                  size_t length, const ucp_am_recv_param_t* params) {
  const bool is_rendezvous = (params->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  const ucs_status_t status = guarded<TensorHeader>(
      self, header, header_bytes, [&](UcxWorker& worker, const TensorHeader& tensor) {
        if (!is_rendezvous || tensor.bytes != length ||
            tensor.device > static_cast<uint32_t>(kernels::Device::cuda)) {
          throw DataPlaneError("tensor " + std::to_string(tensor.index) + " of parcel " +
                               std::to_string(tensor.number) + ": found " + std::to_string(length) +
                               " bytes, wanted " + std::to_string(tensor.bytes) + " by rendezvous");
        }
        Endpoint& from = *worker.endpoints_.at(tensor.plane);
        from.offers.push_back({data, tensor});
        worker.receive_next(from);
        return UCS_INPROGRESS;
      });
  return is_rendezvous ? status : UCS_OK;
}

void UcxWorker::receive_next(Endpoint& from) {
  while (!from.offers.empty() && from.receives < receives_at_once(from.offers.front().header.device)) {
    const Offer offer = from.offers.front();
    from.offers.pop_front();
    try {
      receive(offer);
    } catch (const std::exception& error) {
      listener_.failed(from.plane, error.what());
    }
  }
}

void UcxWorker::receive(const Offer& offer) {
  const TensorHeader& header = offer.header;
  auto taken = memory_->take(static_cast<kernels::Device>(header.device), header.bytes);
  auto* receive = new Receive{this, header, std::move(taken.tensor)};
  receives_.insert(receive);  // first: it may be done, and gone, before the call returns
  ++endpoints_.at(header.plane)->receives;
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                        UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.cb.recv_am = received;
  params.user_data = receive;
  params.memory_type = memory_type_of(receive->memory.view.device);
  if (taken.handle != nullptr) {
    params.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
    params.memh = taken.handle;
  }
  const ucs_status_ptr_t request =
      ucp_am_recv_data_nbx(handle_, offer.descriptor, receive->memory.view.data, header.bytes, &params);
  if (!UCS_PTR_IS_PTR(request)) end(receive, UCS_PTR_STATUS(request));
}

void UcxWorker::received(void* request, ucs_status_t status, size_t, void* receive) {
  auto* done = static_cast<Receive*>(receive);
  UcxWorker& worker = *done->worker;
  const uint64_t plane = done->header.plane;
  worker.end(done, status);
  ucp_request_free(request);
  const auto from = worker.endpoints_.find(plane);
  if (from != worker.endpoints_.end()) worker.receive_next(*from->second);
}

void UcxWorker::end(Receive* receive, ucs_status_t status) {
  const std::unique_ptr<Receive> done(receive);
  receives_.erase(receive);
  given_up_.erase(receive);
  const uint64_t plane = done->header.plane;
  const auto from = endpoints_.find(plane);
  if (from == endpoints_.end()) return;
  --from->second->receives;
  if (status != UCS_OK) return listener_.failed(plane, ucs_status_string(status));
  try {
    listener_.tensor(done->header, std::move(done->memory));
  } catch (const std::exception& error) {
    listener_.failed(plane, error.what());
  }
}

ucs_status_t UcxWorker::on_confirm(void* self, const void* header, size_t header_bytes, void* data,
                                   size_t length, const ucp_am_recv_param_t*) {
  guarded<ShortHeader>(self, header, header_bytes, [&](UcxWorker& worker, const ShortHeader& from) {
    std::vector<uint64_t> numbers(length / sizeof(uint64_t));
    std::memcpy(numbers.data(), data, numbers.size() * sizeof(uint64_t));
    worker.listener_.confirmed(from.plane, numbers);
    return UCS_OK;
  });
  return UCS_OK;
}

/// May come before the plane is connected.
ucs_status_t UcxWorker::on_hello(void* self, const void* header, size_t header_bytes, void*, size_t,
                                 const ucp_am_recv_param_t*) {
  ShortHeader from{};
  if (header_bytes != sizeof from) return UCS_OK;
  std::memcpy(&from, header, sizeof from);
  static_cast<UcxWorker*>(self)->greeted_by_.insert(from.plane);
  return UCS_OK;
}

ucs_status_t UcxWorker::on_goodbye(void* self, const void* header, size_t header_bytes, void* data,
                                   size_t length, const ucp_am_recv_param_t*) {
  guarded<ShortHeader>(self, header, header_bytes, [&](UcxWorker& worker, const ShortHeader& from) {
    worker.listener_.failed(from.plane, std::string(static_cast<const char*>(data), length));
    return UCS_OK;
  });
  return UCS_OK;
}

}  // namespace troupe::runtime
