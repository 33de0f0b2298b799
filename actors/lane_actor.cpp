#include "actors/lane_actor.h"

namespace troupe::actors {

bool is_older(const wire::Epoch& a, const wire::Epoch& b) {
  return std::pair(a.term(), a.n()) < std::pair(b.term(), b.n());
}

void UnitFilter::begin(const wire::BeginStep& step) {
  step_ = step;
  seen_.clear();
}

bool UnitFilter::accept(const wire::UnitId& id, Edge edge) {
  const bool is_current = !is_older(id.epoch(), step_.epoch()) &&
                          !is_older(step_.epoch(), id.epoch()) && id.step() == step_.step();
  return is_current &&
         seen_.emplace(id.micro_batch(), id.layer(), id.operation(), id.sender(), edge).second;
}

runtime::Pb<wire::TokenHeader> answer_header(const wire::UnitId& id, int sender) {
  wire::TokenHeader header;
  *header.mutable_id() = id;
  header.mutable_id()->set_sender(static_cast<uint32_t>(sender));
  return header;
}

}  // namespace troupe::actors
