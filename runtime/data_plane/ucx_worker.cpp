// A worker's life, and what it sends; what comes is in ucx_receive.cpp.
#include "runtime/data_plane/ucx_worker.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernels/cuda/device/device.h"
#include "runtime/data_plane/ucx_messages.h"

namespace troupe::runtime {
namespace {

constexpr std::chrono::milliseconds last_words{100};  ///< for a goodbye to leave
constexpr std::chrono::milliseconds patience{1000};   ///< for what was given up to come back

}  // namespace

/// A message under way: UCX reads header and payload until it is done.
struct UcxWorker::Send {
  UcxWorker* worker;
  uint64_t plane;  ///< to whom
  char header[64];
  size_t header_bytes;
  std::unique_ptr<char[]> packed;
  TensorRef tensor;
  const void* payload;
  size_t payload_bytes;
  ucs_memory_type_t memory_type = UCS_MEMORY_TYPE_HOST;

  template <class Header>
  static std::unique_ptr<Send> of(UcxWorker* worker, uint64_t plane, const Header& header) {
    static_assert(sizeof(Header) <= sizeof(Send::header));
    auto send = std::make_unique<Send>();
    send->worker = worker;
    send->plane = plane;
    std::memcpy(send->header, &header, sizeof header);
    send->header_bytes = sizeof header;
    return send;
  }
  void set_payload(const void* bytes, size_t n) {
    packed = std::make_unique<char[]>(n);
    if (n > 0) std::memcpy(packed.get(), bytes, n);
    payload = packed.get();
    payload_bytes = n;
  }
};

UcxWorker::UcxWorker(std::shared_ptr<const UcxContext> context, std::shared_ptr<UcxMemory> memory,
                     uint64_t plane, UcxListener& listener)
    : context_(std::move(context)), memory_(std::move(memory)), plane_(plane), listener_(listener) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  check_ucx(ucp_worker_create(context_->handle(), &params, &handle_), "ucp_worker_create");
  const std::pair<unsigned, ucp_am_recv_callback_t> handlers[] = {{parcel_id, on_parcel},
                                                                  {tensor_id, on_tensor},
                                                                  {confirm_id, on_confirm},
                                                                  {hello_id, on_hello},
                                                                  {goodbye_id, on_goodbye}};
  for (const auto& [id, callback] : handlers) {
    ucp_am_handler_param_t handler{};
    handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                         UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    handler.id = id;
    handler.flags = UCP_AM_FLAG_WHOLE_MSG;
    handler.cb = callback;
    handler.arg = this;
    check_ucx(ucp_worker_set_am_recv_handler(handle_, &handler), "ucp_worker_set_am_recv_handler");
  }
}

UcxWorker::~UcxWorker() {
  std::vector<uint64_t> planes;
  for (const auto& [plane, endpoint] : endpoints_) planes.push_back(plane);
  close(planes, "the peer has ended its plane");
  // Also what was given up long ago: UCX ends the process when its worker goes with a read pending.
  progress_until(patience, [this] {
    sweep_closed();
    return closing_.empty() && sends_.empty() && given_up_.empty() && !progress();
  });
  if (has_cut_reads_ && aborts_with_cut_reads()) {
    keep_for_good(handle_, context_);
  } else {
    ucp_worker_destroy(handle_);
  }
  // What UCX has not given back, though its worker is gone.
  for (Send* send : sends_) delete send;
  for (Receive* receive : given_up_) delete receive;
}

std::string UcxWorker::address() const {
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_ADDRESS;
  check_ucx(ucp_worker_query(handle_, &attributes), "ucp_worker_query");
  const std::string bytes(reinterpret_cast<const char*>(attributes.address),
                          attributes.address_length);
  ucp_worker_release_address(handle_, attributes.address);
  return bytes;
}

int UcxWorker::file() const {
  int file = -1;
  check_ucx(ucp_worker_get_efd(handle_, &file), "ucp_worker_get_efd");
  return file;
}

void UcxWorker::connect(uint64_t plane, const std::string& address) {
  auto endpoint = std::make_unique<Endpoint>(Endpoint{this, plane});
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = endpoint_failed;
  params.err_handler.arg = endpoint.get();
  check_ucx(ucp_ep_create(handle_, &params, &endpoint->handle), "no way to the peer");
  endpoints_[plane] = std::move(endpoint);
  auto hello = Send::of(this, plane, ShortHeader{plane_});
  hello->set_payload(nullptr, 0);
  post(hello_id, std::move(hello), UCP_AM_SEND_FLAG_EAGER);
}

void UcxWorker::endpoint_failed(void* endpoint, ucp_ep_h, ucs_status_t status) {
  auto* self = static_cast<Endpoint*>(endpoint);
  self->has_failed = true;
  self->worker->listener_.failed(self->plane, ucs_status_string(status));
}

void UcxWorker::close(std::span<const uint64_t> planes, const std::string& why) {
  sweep_closed();
  std::vector<Send*> goodbyes;
  for (const uint64_t plane : planes) {
    auto send = Send::of(this, plane, ShortHeader{plane_});
    send->set_payload(why.data(), why.size());
    goodbyes.push_back(send.get());
    post(goodbye_id, std::move(send), UCP_AM_SEND_FLAG_EAGER);
  }
  // Also until the peer has greeted: UCX 1.13 ends the process of a peer that it has not connected
  // back from yet.
  progress_until(last_words, [&] {
    const auto is_said = [this](Send* send) { return !sends_.contains(send); };
    const auto is_open = [this](uint64_t plane) {
      return greeted_by_.contains(plane) || endpoints_.at(plane)->has_failed;
    };
    return std::all_of(goodbyes.begin(), goodbyes.end(), is_said) &&
           std::all_of(planes.begin(), planes.end(), is_open);
  });
  for (const uint64_t plane : planes) {
    const auto found = endpoints_.find(plane);
    // What a failed peer has offered goes with the worker: UCX can tell it nothing any more.
    for (const Offer& offer : found->second->offers) {
      if (!found->second->has_failed) ucp_am_data_release(handle_, offer.descriptor);
    }
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_EP_CLOSE_FLAG_FORCE;
    const ucs_status_ptr_t request = ucp_ep_close_nbx(found->second->handle, &params);
    closing_.push_back({std::move(found->second), request});
    endpoints_.erase(found);
    greeted_by_.erase(plane);
    // Their memory is kept until UCX gives it back: a peer that lives may still be sending into it.
    const size_t cut = std::erase_if(receives_, [&](Receive* receive) {
      return receive->header.plane == plane && given_up_.insert(receive).second;
    });
    has_cut_reads_ = has_cut_reads_ || cut > 0;
  }
}

void UcxWorker::sweep_closed() {
  std::erase_if(closing_, [](const Closing& closing) {
    if (!UCS_PTR_IS_PTR(closing.request)) return true;
    if (ucp_request_check_status(closing.request) == UCS_INPROGRESS) return false;
    ucp_request_free(closing.request);
    return true;
  });
}

template <class Done>
void UcxWorker::progress_until(std::chrono::milliseconds time, Done is_done) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!is_done() && std::chrono::steady_clock::now() < end) progress();
}

void UcxWorker::send(uint64_t plane, PackedParcel parcel) {
  try {
    if (has_gpu_memory(parcel)) kernels::cuda::use_gpu();  // whose memory it is, for UCX's calls
  } catch (const std::exception& error) {
    return listener_.failed(plane, error.what());
  }
  auto first = Send::of(this, plane, parcel.header);
  first->packed = std::move(parcel.packed);
  first->payload = first->packed.get();
  first->payload_bytes = parcel.packed_bytes;
  post(parcel_id, std::move(first), UCP_AM_SEND_FLAG_EAGER);
  for (size_t i = 0; i < parcel.apart.size(); ++i) {
    const kernels::Tensor& view = parcel.apart[i].view;
    const auto bytes = static_cast<uint64_t>(bytes_of(view));
    auto send = Send::of(this, plane,
                         TensorHeader{.plane = parcel.header.plane,
                                      .number = parcel.header.number,
                                      .bytes = bytes,
                                      .index = parcel.apart_indices[i],
                                      .device = static_cast<uint32_t>(view.device)});
    send->payload = view.data;
    send->payload_bytes = bytes;
    send->memory_type = memory_type_of(view.device);
    send->tensor = std::move(parcel.apart[i]);
    post(tensor_id, std::move(send), UCP_AM_SEND_FLAG_RNDV);
  }
}

void UcxWorker::confirm(uint64_t plane, std::span<const uint64_t> numbers) {
  auto send = Send::of(this, plane, ShortHeader{plane_});
  send->set_payload(numbers.data(), numbers.size_bytes());
  post(confirm_id, std::move(send), UCP_AM_SEND_FLAG_EAGER);
}

void UcxWorker::post(unsigned id, std::unique_ptr<Send> send, uint32_t flags) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                        UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.cb.send = sent;
  params.user_data = send.get();
  params.flags = flags;
  params.memory_type = send->memory_type;
  const uint64_t plane = send->plane;
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoints_.at(plane)->handle, id, send->header, send->header_bytes,
                      send->payload, send->payload_bytes, &params);
  if (UCS_PTR_IS_PTR(request)) {
    sends_.insert(send.release());
  } else if (UCS_PTR_IS_ERR(request)) {
    listener_.failed(plane, ucs_status_string(UCS_PTR_STATUS(request)));
  }
}

void UcxWorker::sent(void* request, ucs_status_t status, void* send) {
  const std::unique_ptr<Send> done(static_cast<Send*>(send));
  done->worker->sends_.erase(done.get());
  if (status != UCS_OK) done->worker->listener_.failed(done->plane, ucs_status_string(status));
  ucp_request_free(request);
}

}  // namespace troupe::runtime
