#include "actors/messages/post_office.h"

#include <array>

#include "kernels/buffer.h"

namespace troupe::actors {
namespace {

constexpr std::array verb_names{"forward",     "backward",  "attended", "routed",
                                "expert_rows", "gradients", "weights",  "state",
                                "dispatched",  "reduced",   "restored"};

Address address_of(const wire::Letter& letter) {
  return {static_cast<Role>(letter.role()), letter.stage(), letter.worker(), letter.index()};
}

/// What the data plane reads: the host's memory, which shared memory is, and the GPU's where it knows that.
std::vector<runtime::TensorRef> readable(const std::vector<runtime::TensorRef>& tensors,
                                         bool carries_gpu_memory) {
  std::vector<runtime::TensorRef> out = tensors;
  for (runtime::TensorRef& tensor : out) {
    if (tensor.view.device == kernels::Device::shared) tensor.view.device = kernels::Device::cpu;
    if (tensor.view.device != kernels::Device::cuda || carries_gpu_memory) continue;
    kernels::Buffer host = kernels::on_host(tensor.view);
    tensor = {host.view, std::move(host.memory)};
  }
  return out;
}

/// What has come to the host, where actors of the model read it: tables of integers in shared memory.
void move_to(kernels::Device device, std::vector<runtime::TensorRef>& tensors) {
  for (runtime::TensorRef& tensor : tensors) {
    if (tensor.view.device == kernels::Device::cuda) continue;
    const kernels::Tensor& host = tensor.view;
    const bool is_table = host.dtype == kernels::DType::i32;
    const kernels::Buffer there = kernels::allocate(is_table ? kernels::Device::shared : device,
                                                    host.dtype, {host.rows(), host.cols()});
    kernels::copy_now(host, there);
    kernels::Tensor view = host;
    view.data = there.view.data;
    view.device = there.view.device;
    tensor = {view, there.memory};
  }
}

}  // namespace

void PostOffice::deliver(const Address& to, Verb verb, TokenMessage message) const {
  const auto post = directory_.post(to);
  if (!post) return;
  switch (verb) {
    case Verb::forward: return post->send(caf::make_message(forward_atom_v, std::move(message)));
    case Verb::backward: return post->send(caf::make_message(backward_atom_v, std::move(message)));
    case Verb::attended: return post->send(caf::make_message(attended_atom_v, std::move(message)));
    case Verb::routed: return post->send(caf::make_message(routed_atom_v, std::move(message)));
    case Verb::expert_rows:
      return post->send(caf::make_message(expert_rows_atom_v, std::move(message)));
    case Verb::gradients: return post->send(caf::make_message(gradients_atom_v, std::move(message)));
    case Verb::weights: return post->send(caf::make_message(weights_atom_v, std::move(message)));
    case Verb::state: return post->send(caf::make_message(state_atom_v, std::move(message)));
    case Verb::dispatched:
      return post->send(caf::make_message(dispatched_atom_v, std::move(message)));
    case Verb::reduced: return post->send(caf::make_message(reduced_atom_v, std::move(message)));
    case Verb::restored: return post->send(caf::make_message(restored_atom_v, std::move(message)));
  }
}

void PostOffice::send(const Address& to, Verb verb, const TokenMessage& message) const {
  const int process = placement_.process_of(to);
  if (process == process_) return deliver(to, verb, message);
  if (!plane_) {
    throw runtime::DataPlaneError(to_string(to) + " is in process " + std::to_string(process) +
                                  ", and this one has no data plane");
  }
  if (is_lost(process)) return;
  wire::Letter letter;
  letter.set_verb(static_cast<uint32_t>(verb));
  letter.set_role(static_cast<uint32_t>(to.role));
  letter.set_stage(to.stage);
  letter.set_worker(to.worker);
  letter.set_index(to.index);
  *letter.mutable_header() = *message.header;
  try {
    plane_->send(process, {letter.SerializeAsString(),
                           readable(message.tensors, plane_->carries_gpu_memory())});
  } catch (const runtime::DataPlaneError&) {
    if (!is_lost(process)) throw;
  }
}

void PostOffice::lose(int process) const {
  std::lock_guard lock(mutex_);
  lost_.insert(process);
}

void PostOffice::find_again(int process) const {
  std::lock_guard lock(mutex_);
  lost_.erase(process);
}

bool PostOffice::is_lost(int process) const {
  std::lock_guard lock(mutex_);
  return lost_.contains(process);
}

wire::WireUse PostOffice::wire_use() const {
  wire::WireUse use;
  if (!plane_) return use;
  const runtime::PlaneCounters counters = plane_->counters();
  use.set_wire_bytes(counters.wire_bytes_taken);
  use.set_copied_bytes(counters.copied_bytes);
  use.set_parcels(counters.parcels_taken);
  return use;
}

bool PostOffice::received(runtime::Parcel parcel) const {
  wire::Letter letter;
  if (!letter.ParseFromString(parcel.letter) || letter.verb() >= verbs || letter.role() >= roles) {
    return false;
  }
  TokenMessage message{Pb<wire::TokenHeader>(std::move(*letter.mutable_header())),
                       std::move(parcel.tensors)};
  const bool is_for_gpu = device_ == kernels::Device::cuda &&
                          is_of_model(static_cast<Role>(letter.role()));
  if (is_for_gpu) move_to(device_, message.tensors);
  deliver(address_of(letter), static_cast<Verb>(letter.verb()), std::move(message));
  return true;
}

std::string describe_letter(const std::string& text) {
  wire::Letter letter;
  if (!letter.ParseFromString(text) || letter.verb() >= verbs || letter.role() >= roles) return "?";
  return to_string(address_of(letter)) + " (" + verb_names[letter.verb()] + ")";
}

}  // namespace troupe::actors
