#include "actors/model/router.h"

#include <algorithm>

namespace troupe::actors {

RouterActor::behavior_type RouterActor::make_behavior() {
  return {
      seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
      seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("forward", [this](forward_atom, const TokenMessage& message) { forward(message); }),
      seen("backward", [this](backward_atom, const TokenMessage& message) { backward(message); }),
      seen("expert_rows",
           [this](expert_rows_atom, const TokenMessage& message) { expert_rows(message); }),
      seen("report", [this](report_atom, uint64_t step) { return report(step); }),
  };
}

caf::result<void> RouterActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::begin, *step)) return stale;
  retire(passages_);
  report_.Clear();
  begin_epoch(*step);
  const int64_t E = company().recipe.shape.experts;
  bias_ = kernels::allocate_shared(kernels::DType::f32, {E});  // the old one may still be read by what is in the queue
  std::copy_n(step->bias().begin() + company().moe_index(place().index) * E, E,
              kernels::values<float>(bias_.view));
  return answer_when_done();
}

void RouterActor::forward(const TokenMessage& message) {
  if (!takes(message, Phase::forward)) return;
  auto passage = std::make_shared<Passage>(company(), place(), view(message.id().micro_batch()));
  passages_[message.id().micro_batch()] = passage;  // before what may throw
  passage->id = message.id();
  passage->x = message.tensors.at(0);
  passage->scratch.keep(bias_);
  passage->block.choose(queue(), passage->scratch, passage->x, bias_);
  when_done([this, passage] { dispatch(passage); });
}

void RouterActor::dispatch(const std::shared_ptr<Passage>& passage) {
  send_rows(passage, passage->block.dispatch(queue(), passage->scratch));
  passage->block.balance(queue(), passage->scratch, company().sequence_rows(place().index, numbers()),
                         step().sequences());
  when_done([this, passage, unit = passage->id] { record(*passage, unit); });
}

void RouterActor::record(const Passage& passage, const wire::UnitId& id) {
  wire::UnitRouting& unit = *report_.add_routing();
  unit.set_micro_batch(id.micro_batch());
  unit.set_layer(static_cast<int32_t>(place().index));
  const auto loads = passage.block.loads();
  unit.mutable_rows()->Add(loads.begin(), loads.end());
  unit.set_crossing_bytes(static_cast<uint64_t>(passage.block.crossing_bytes()));
  uint32_t faults = report_.faults();
  unit.set_balance_loss(kernels::to_fixed_point(passage.block.balance_loss(), step().scale_bits(),
                                                numbers().micro_batches * company().recipe.moe_layers(),
                                                faults));
  report_.set_faults(faults);
}

/// One message a shard of this process, and one to each other process, empty ones too (unit law).
void RouterActor::send_rows(const std::shared_ptr<Passage>& passage, const Dispatched& rows) {
  passage->missing = rows.here.size();
  waits_for("expert_rows", rows.here.size());
  passage->received.assign(rows.here.size(), {});
  for (size_t shard = 0; shard < rows.here.size(); ++shard) {
    const DispatchedRows& part = rows.here[shard];
    if (part.rows.data == nullptr) continue;  // it is in another process
    wire::TokenHeader header;
    *header.mutable_id() = passage->id;
    header.mutable_id()->set_sender(company().sender_of(place()));
    header.set_leaves_weights(passage->leaves_weights);
    header.mutable_offsets()->Add(part.offsets.begin(), part.offsets.end());
    const Address to = expert_shard(shard);
    std::vector<runtime::TensorRef> tensors;
    tensors.reserve(2);
    tensors.push_back(rows_of(*passage, part.rows));
    if (passage->id.operation() == wire::FORWARD) {
      header.set_is_table(part.index.data != nullptr);
      if (part.index.data) tensors.push_back(share(passage->scratch, part.index));
      send_in_order(to, forward_atom_v, {header, std::move(tensors)});
    } else {
      tensors.push_back(share(passage->scratch, part.weights));
      send_in_order(to, backward_atom_v, {header, std::move(tensors)});
    }
  }
  for (const HostRows& host : rows.there) send_to_host(passage, host);
}

/// What a part's rows are: of the passage's scratch, or what it was sent itself.
runtime::TensorRef RouterActor::rows_of(const Passage& passage, const kernels::ConstTensor& rows) {
  for (const runtime::TensorRef& sent : {passage.x, passage.dy}) {
    if (sent.view.data != nullptr && sent.view.data == rows.data) return sent;
  }
  return share(passage.scratch, {const_cast<void*>(rows.data), rows.dtype, rows.device, rows.rank,
                                 rows.shape, rows.row_stride});
}

void RouterActor::send_to_host(const std::shared_ptr<Passage>& passage, const HostRows& rows) {
  wire::TokenHeader header;
  *header.mutable_id() = passage->id;
  header.mutable_id()->set_sender(company().sender_of(place()));
  header.set_leaves_weights(passage->leaves_weights);
  std::vector<runtime::TensorRef> tensors;
  for (const kernels::Tensor& packed : rows.packed) {
    tensors.push_back(share(passage->scratch, packed));
  }
  const bool is_forward = passage->id.operation() == wire::FORWARD;
  for (const HostRows::Part& part : rows.parts) {
    wire::DispatchPart& one = *header.add_parts();
    one.set_shard(part.shard);
    if (!is_forward) continue;
    one.mutable_offsets()->Add(part.offsets.begin(), part.offsets.end());
    tensors.push_back(share(passage->scratch, part.index));
    tensors.push_back(share(passage->scratch, part.weights));
  }
  send_when_done(expert_shard(static_cast<size_t>(rows.parts.front().shard)), dispatched_atom_v,
                 {header, std::move(tensors)});
}

void RouterActor::backward(const TokenMessage& message) {
  if (!takes(message, Phase::backward)) return;
  const auto found = passages_.find(message.id().micro_batch());
  if (found == passages_.end()) {
    return fail("backward of micro-batch " + std::to_string(message.id().micro_batch()) +
                " had no forward in router of layer " + std::to_string(place().index));
  }
  const std::shared_ptr<Passage> passage = found->second;
  passage->id = message.id();
  if (message.id().operation() == wire::BACKWARD_WEIGHT) return ask_for_weights(passage);
  passage->leaves_weights = message.header->leaves_weights();
  passage->dy = message.tensors.at(0);
  send_rows(passage, passage->block.dispatch_backward(queue(), passage->scratch, passage->dy));
}

void RouterActor::expert_rows(const TokenMessage& message) {
  if (!accept(message, Edge::experts)) return;
  const auto found = passages_.find(message.id().micro_batch());
  if (found == passages_.end()) return;
  const std::shared_ptr<Passage> passage = found->second;
  passage->received.at(message.id().sender()) = message;
  waits_for(passage->missing > 1 ? "expert_rows" : nullptr, passage->missing - 1);
  if (--passage->missing > 0) return;
  if (passage->id.operation() == wire::FORWARD) return combine(passage);
  if (passage->id.operation() == wire::BACKWARD) {
    combine_backward(passage);
    if (passage->leaves_weights) return;
  } else {
    send_when_done({Role::stage, place().stage, place().worker}, routed_atom_v,
                   {answer_header(passage->id, 0), {}});
  }
  passage->block.backward_weights(queue(), passage->scratch);
  release_when_done(passage);
  passages_.erase(found);
}

/// Every expert shard adds what the backward of the micro-batch has left.
void RouterActor::ask_for_weights(const std::shared_ptr<Passage>& passage) {
  passage->missing = static_cast<size_t>(company().plan.expert);
  waits_for("expert_rows", passage->missing);
  wire::TokenHeader header;
  *header.mutable_id() = passage->id;
  header.mutable_id()->set_sender(company().sender_of(place()));
  for (size_t shard = 0; shard < passage->missing; ++shard) {
    send_when_done(expert_shard(shard), backward_atom_v, {header, {}});
  }
}

Address RouterActor::expert_shard(size_t index) {
  return {Role::expert_shard, company().stage_of(place().index), company().plan.replica_of(place().worker),
          static_cast<int>(index)};
}

/// From another process sums come first.
std::vector<ExpertAnswer> RouterActor::answers(const Passage& passage) const {
  std::vector<ExpertAnswer> answers;
  for (const TokenMessage& message : passage.received) {
    const bool has_sums = message.header->is_part();
    ExpertAnswer& answer = answers.emplace_back();
    if (has_sums) answer.sums = message.tensors.at(0);
    answer.rows = message.tensors.at(has_sums ? 1 : 0);
    if (passage.id.operation() == wire::BACKWARD) answer.dweights = message.tensors.at(has_sums ? 2 : 1);
  }
  return answers;
}

void RouterActor::combine(const std::shared_ptr<Passage>& passage) {
  const kernels::Tensor y = passage->block.combine(queue(), passage->scratch, answers(*passage));
  send_in_order({Role::stage, place().stage, place().worker}, routed_atom_v,
                {answer_header(passage->id, 0), {share(passage->scratch, y)}});
  // Read no more when the queue has passed; the backward makes room for its own.
  release_when_done(
      std::make_shared<std::vector<TokenMessage>>(std::exchange(passage->received, {})));
}

void RouterActor::combine_backward(const std::shared_ptr<Passage>& passage) {
  const kernels::Tensor dx =
      passage->block.combine_backward(queue(), passage->scratch, answers(*passage));
  send_in_order({Role::stage, place().stage, place().worker}, routed_atom_v,
                {answer_header(passage->id, 0), {share(passage->scratch, dx)}});
}

caf::result<Pb<wire::StepReport>> RouterActor::report(uint64_t step) {
  if (caf::error none = lacks(step)) return none;
  return answer_when_done<Pb<wire::StepReport>>([this] { return Pb<wire::StepReport>(report_); });
}

}  // namespace troupe::actors
