#include "actors/model/stage.h"

#include <algorithm>

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Tensor;

StageActor::StageActor(caf::actor_config& config, std::shared_ptr<Company> company,
                       const Address& address, runtime::Cell* cell)
    : Super(config, company, address, cell),
      layers_(company->plan.stages[static_cast<size_t>(address.stage)]) {}

void StageActor::on_exit() {
  promise_.reset();
  Super::on_exit();
}

StageActor::behavior_type StageActor::make_behavior() {
  return {
      seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
      seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("start", [this](start_atom, const StepTokens& tokens) { return start(tokens); }),
      seen("forward", [this](forward_atom, const TokenMessage& m) { received(wire::FORWARD, m); }),
      seen("backward", [this](backward_atom, const TokenMessage& m) { received(wire::BACKWARD, m); }),
      seen("attended", [this](attended_atom, const TokenMessage& m) { attended(m); }),
      seen("routed", [this](routed_atom, const TokenMessage& m) { routed(m); }),
  };
}

caf::result<void> StageActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::begin, *step)) return stale;
  if (promise_) {
    promise_->deliver(runtime::make_error(runtime::Errc::stale_epoch, "the step began again"));
    promise_.reset();
  }
  retire(passages_);
  retire(finished_);
  inbox_.clear();
  operations_.clear();
  next_operation_ = 0;
  is_playing_ = false;
  begin_epoch(*step);
  return answer_when_done();
}

caf::result<Pb<wire::StepReport>> StageActor::start(const StepTokens& tokens) {
  if (promise_ || step().step() == 0) {  // it was started again after the begin, or has no turn
    return runtime::make_error(runtime::Errc::stale_epoch, "no step has begun for this start");
  }
  tokens_ = tokens;
  operations_ = config::make_lists({.kind = config::Parallel::ONE_F_ONE_B,
                                    .stages = company().plan.pipeline,
                                    .micro_batches = micro_batches()})
                    .of(place().stage);
  promise_ = make_response_promise<Pb<wire::StepReport>>();
  const auto promise = *promise_;
  play();
  return promise;
}

/// Of its worker's, those that the step has.
std::span<const int> StageActor::micro_batches() const {
  const std::vector<int>& dealt = company().plan.micro_batches[static_cast<size_t>(place().worker)];
  const auto end = std::lower_bound(dealt.begin(), dealt.end(), numbers().micro_batches);
  return {dealt.begin(), end};
}

void StageActor::received(wire::Operation operation, const TokenMessage& message) {
  if (!accept(message.id())) return;
  inbox_[{message.id().micro_batch(), operation}] = message;
  play();
}

void StageActor::play() {
  if (is_playing_ || !promise_) return;
  if (next_operation_ == operations_.size()) {
    when_done([this] {
      promise_->deliver(Pb<wire::StepReport>(losses()));
      promise_.reset();
      finished_.clear();
    });
    next_operation_ = operations_.size() + 1;
    return;
  }
  if (next_operation_ > operations_.size()) return;
  const config::Operation& next = operations_[next_operation_];
  const bool is_forward = next.kind == config::Operation::Kind::forward;
  const bool needs_message = is_forward ? place().stage > 0 : !is_last();
  const int operation = is_forward ? wire::FORWARD : wire::BACKWARD;
  if (needs_message && !inbox_.contains({static_cast<uint32_t>(next.micro_batch), operation})) {
    return waits_for(is_forward ? "forward" : "backward", static_cast<uint64_t>(next.micro_batch));
  }
  is_playing_ = true;
  comes_to(is_forward ? Phase::forward : Phase::backward, step().step());
  if (is_forward) {
    begin_forward(next.micro_batch);
  } else {
    begin_backward(next.micro_batch);
  }
}

/// The next operation may be enqueued at once: the queue keeps the order.
void StageActor::operation_ended() {
  is_playing_ = false;
  ++next_operation_;
  play();
}

wire::StepReport StageActor::losses() {
  wire::StepReport report;
  uint32_t faults = 0;
  const auto fixed = [&](const HeadEnd& head) {
    return kernels::to_fixed_point(head.loss(), step().scale_bits(), numbers().micro_batches,
                                   faults);
  };
  for (const PassagePtr& passage : finished_) {
    wire::UnitLosses& unit = *report.add_losses();
    unit.set_micro_batch(passage->micro_batch);
    unit.set_main(fixed(passage->heads[0]));
    for (size_t m = 1; m < passage->heads.size(); ++m) unit.add_mtp(fixed(passage->heads[m]));
  }
  report.set_faults(faults);
  return report;
}

Pb<wire::TokenHeader> StageActor::header(const Passage& passage, int64_t layer,
                                         wire::Operation operation) {
  wire::TokenHeader header;
  wire::UnitId& id = *header.mutable_id();
  *id.mutable_epoch() = step().epoch();
  id.set_step(step().step());
  id.set_micro_batch(passage.micro_batch);
  id.set_layer(static_cast<int32_t>(layer));
  id.set_operation(operation);
  id.set_sender(static_cast<uint32_t>(place().stage));
  return header;
}

void StageActor::ask_attention(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                               const runtime::TensorRef& x) {
  const int shard = company().attention_shard_of(static_cast<int>(passage->micro_batch));
  const Address to{Role::attention_shard, place().stage, place().worker, shard};
  TokenMessage message{header(*passage, layer, operation), {x}};
  waits_for("attended", static_cast<uint64_t>(layer));
  if (operation == wire::FORWARD) {
    send_when_done(to, forward_atom_v, std::move(message));
  } else {
    send_when_done(to, backward_atom_v, std::move(message));
  }
}

void StageActor::ask_router(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                            const runtime::TensorRef& x) {
  const Address to{Role::router, place().stage, place().worker, static_cast<int>(layer)};
  waits_for("routed", static_cast<uint64_t>(layer));
  TokenMessage message{header(*passage, layer, operation), {x}};
  if (operation == wire::FORWARD) {
    send_when_done(to, forward_atom_v, std::move(message));
  } else {
    send_when_done(to, backward_atom_v, std::move(message));
  }
}

StageActor::PassagePtr StageActor::passage_of(const TokenMessage& message, Edge edge) {
  if (!accept(message.id(), edge)) return nullptr;
  const auto found = passages_.find(message.id().micro_batch());
  if (found == passages_.end()) return nullptr;
  found->second->received.push_back(message.tensors.at(0));
  return found->second;
}

void StageActor::attended(const TokenMessage& message) {
  const PassagePtr passage = passage_of(message, Edge::attended);
  if (!passage) return;
  if (message.id().operation() == wire::FORWARD) {
    forward_mlp(passage, message.id().layer(), message.tensors.at(0));
  } else {
    backward_below(passage, message.id().layer(), message.tensors.at(0));
  }
}

void StageActor::routed(const TokenMessage& message) {
  const PassagePtr passage = passage_of(message, Edge::routed);
  if (!passage) return;
  const int64_t layer = message.id().layer();
  if (message.id().operation() == wire::FORWARD) {
    const Tensor y = passage->blocks.at(layer).finish_forward(queue(), passage->scratch,
                                                              message.tensors.at(0));
    forward_above(passage, layer, y);
  } else {
    backward_attention(passage, layer, message.tensors.at(0));
  }
}

}  // namespace troupe::actors
