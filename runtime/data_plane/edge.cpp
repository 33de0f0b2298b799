#include "runtime/data_plane/edge.h"

#include <algorithm>

namespace troupe::runtime {

bool OutgoingEdge::has_credit_for(const PackedParcel& parcel) const {
  if (under_way_.empty()) return true;
  const auto bytes = static_cast<uint64_t>(parcel.tensor_bytes);
  return under_way_.size() < credit_parcels_ && bytes_under_way_ + bytes <= credit_bytes_;
}

bool OutgoingEdge::submit(PackedParcel parcel) {
  waiting_.push_back(std::move(parcel));
  return waiting_.size() > 1 || !has_credit_for(waiting_.back());
}

std::optional<PackedParcel> OutgoingEdge::next() {
  if (waiting_.empty() || !has_credit_for(waiting_.front())) return {};
  PackedParcel parcel = std::move(waiting_.front());
  waiting_.pop_front();
  set_number(parcel, ++last_number_);
  const auto bytes = static_cast<uint64_t>(parcel.tensor_bytes);
  under_way_.emplace(last_number_, UnderWay{std::move(parcel.letter), bytes});
  bytes_under_way_ += bytes;
  return parcel;
}

bool OutgoingEdge::confirm(uint64_t number) {
  const auto found = under_way_.find(number);
  if (found == under_way_.end()) return false;
  bytes_under_way_ -= found->second.bytes;
  under_way_.erase(found);
  return true;
}

std::vector<std::string> OutgoingEdge::take_letters() {
  std::vector<std::string> letters;
  for (auto& [number, parcel] : under_way_) letters.push_back(std::move(parcel.letter));
  for (PackedParcel& parcel : waiting_) letters.push_back(std::move(parcel.letter));
  under_way_.clear();
  waiting_.clear();
  bytes_under_way_ = 0;
  return letters;
}

std::optional<IncomingEdge::Whole> IncomingEdge::add(uint64_t number, UnpackedParcel parcel) {
  Partial& partial = partial_[number];
  if (partial.packed) {
    throw DataPlaneError("parcel " + std::to_string(number) + " came twice");
  }
  partial.packed = std::move(parcel);
  return finish(number, partial);
}

std::optional<IncomingEdge::Whole> IncomingEdge::add(uint64_t number, uint32_t index,
                                                     TensorRef memory, uint64_t bytes) {
  Partial& partial = partial_[number];
  if (!partial.tensors.emplace(index, Part{std::move(memory), bytes}).second) {
    throw DataPlaneError("tensor " + std::to_string(index) + " of parcel " +
                         std::to_string(number) + " came twice");
  }
  return finish(number, partial);
}

std::optional<IncomingEdge::Whole> IncomingEdge::finish(uint64_t number, Partial& partial) {
  if (!partial.packed) return {};
  UnpackedParcel& packed = *partial.packed;
  const auto n_apart = std::count_if(packed.table.begin(), packed.table.end(),
                                     [](const ParcelEntry& entry) { return entry.is_apart; });
  if (partial.tensors.size() < static_cast<size_t>(n_apart)) return {};
  for (auto& [index, part] : partial.tensors) {
    const bool is_wanted = index < packed.table.size() && packed.table[index].is_apart;
    kernels::Tensor* view = is_wanted ? &packed.parcel.tensors[index].view : nullptr;
    if (view == nullptr || static_cast<uint64_t>(bytes_of(*view)) != part.bytes ||
        view->device != part.memory.view.device) {
      throw DataPlaneError("parcel " + std::to_string(number) + ": found tensor " +
                           std::to_string(index) + " of " + std::to_string(part.bytes) +
                           " bytes, wanted " + (view ? describe(*view) : "none"));
    }
    view->data = part.memory.view.data;
    packed.parcel.tensors[index].owner = std::move(part.memory.owner);
    check_tensor(packed, index);
  }
  Whole whole{number, std::move(packed.parcel)};
  partial_.erase(number);
  return whole;
}

}  // namespace troupe::runtime
