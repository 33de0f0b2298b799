#include "actors/messages/message_units.h"

namespace troupe::actors {
namespace {

using wire::UnitHash;

/// Between stages travels what the attention of the layer behind is asked, or has answered.
UnitHash::Edge edge_of(Role from, Role to, wire::Operation operation) {
  switch (from) {
    case Role::attention_shard: return UnitHash::FROM_ATTENTION;
    case Role::expert_shard: return UnitHash::FROM_EXPERT;
    case Role::router: return to == Role::stage ? UnitHash::FROM_ROUTER : UnitHash::TO_EXPERT;
    default: break;
  }
  if (to == Role::router) return UnitHash::TO_ROUTER;
  const bool is_answer = to == Role::stage && operation == wire::BACKWARD;
  return is_answer ? UnitHash::FROM_ATTENTION : UnitHash::TO_ATTENTION;
}

/// Rows [first, end) of what an expert shard is sent or sends: a matrix, and in backward a vector.
void record_rows(runtime::UnitRecorder& recorder, const runtime::UnitEpoch& epoch,
                 const UnitHash& unit, const TokenMessage& message, int64_t first, int64_t end) {
  const kernels::ConstTensor rows = message.tensors[0];
  const kernels::ConstTensor part = kernels::row_range(rows, first, end - first);
  if (message.tensors.size() == 1) return recorder.record(epoch, unit, {part});
  kernels::ConstTensor weights = message.tensors[1];
  weights.data = kernels::values<float>(weights) + first;
  weights.rank = 1;
  weights.shape = {end - first};
  weights.row_stride = end - first;
  recorder.record(epoch, unit, {part, weights});
}

}  // namespace

void record_message(Company& company, const Address& from, const Address& to,
                    const TokenMessage& message) {
  const wire::UnitId& id = message.id();
  const bool is_forward = id.operation() == wire::FORWARD;
  UnitHash unit;
  unit.set_kind(is_forward ? UnitHash::FORWARD_MESSAGE : UnitHash::BACKWARD_MESSAGE);
  unit.set_micro_batch(id.micro_batch());
  const bool is_between_stages = from.role == Role::stage && to.role == Role::stage;
  unit.set_layer(is_between_stages && is_forward ? id.layer() + 1 : id.layer());
  unit.set_edge(edge_of(from.role, to.role, id.operation()));
  const auto epoch = runtime::unit_epoch(id.epoch(), id.step());
  const bool is_of_experts =
      unit.edge() == UnitHash::TO_EXPERT || unit.edge() == UnitHash::FROM_EXPERT;
  if (!is_of_experts) return company.units->record(epoch, unit, {message.tensors.at(0)});
  const Address& shard = to.role == Role::expert_shard ? to : from;
  const int64_t first = company.plan.experts[static_cast<size_t>(shard.index)].first;
  const auto& offsets = message.header->offsets();
  for (int e = 0; e + 1 < offsets.size(); ++e) {
    if (offsets[e] == offsets[e + 1]) continue;
    unit.set_part(static_cast<uint32_t>(first + e));
    record_rows(*company.units, epoch, unit, message, offsets[e], offsets[e + 1]);
  }
}

void flip_bit(const kernels::Tensor& tensor) {
  if (tensor.count() == 0) return;
  kernels::Tensor first = tensor;
  first.rank = 1;
  first.shape = {1};
  const kernels::Buffer host = kernels::on_host(first);
  // Of a float's lowest byte: the run goes on, and no number looks strange.
  *static_cast<unsigned char*>(host.view.data) ^= 0x10;
  if (host.view.data != first.data) kernels::copy_now(host, first);
}

}  // namespace troupe::actors
