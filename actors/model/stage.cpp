#include "actors/model/stage.h"

#include <algorithm>

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Tensor;

StageActor::StageActor(caf::actor_config& config, std::shared_ptr<Company> company,
                       const Address& address, runtime::Cell* cell)
    : Super(config, company, address, cell) {}

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
  report_.Clear();
  inbox_.clear();
  lists_.reset();
  recording_.reset();
  next_operation_ = 0;
  running_ = 0;
  weights_asked_ = 0;
  has_ended_ = false;
  begin_epoch(*step);
  return answer_when_done();
}

caf::result<Pb<wire::StepReport>> StageActor::start(const StepTokens& tokens) {
  if (promise_ || step().step() == 0) {  // it was started again after the begin, or has no turn
    return runtime::make_error(runtime::Errc::stale_epoch, "no step has begun for this start");
  }
  tokens_ = tokens;
  const std::vector<int> shares(step().shares().begin(), step().shares().end());
  hand_ = company().hands(shares, numbers().micro_batches)[static_cast<size_t>(place().worker)];
  lists_ = config::lists_of_step({.kind = company().plan.schedule,
                                  .stages = company().plan.pipeline,
                                  .micro_batches = hand_});
  recording_ = record_list();
  promise_ = make_response_promise<Pb<wire::StepReport>>();
  const auto promise = *promise_;
  play();
  return promise;
}

/// Its worker's micro-batches go to its attention shards in turn.
int StageActor::attention_shard_of(uint32_t micro_batch) const {
  const auto at = std::ranges::lower_bound(hand_, static_cast<int>(micro_batch)) - hand_.begin();
  return static_cast<int>(at % company().plan.attention);
}

/// Named by the layer that the stream comes from.
void StageActor::received(wire::Operation operation, const TokenMessage& message) {
  if (!accept(message)) return;
  const int from = company().stage_of(message.id().layer());
  const int stage = operation == wire::FORWARD ? from + 1 : from - 1;
  inbox_[{stage, message.id().micro_batch(), operation}] = message;
  if (recording_) {
    recording_->arrived(operation == wire::FORWARD, stage, static_cast<int>(message.id().micro_batch()),
                        runtime::trace_clock_ns());
  }
  play();
}

void StageActor::play() {
  if (running_ > 0 || !promise_ || !lists_) return;
  const std::vector<config::Operation>& list = lists_->of(place().stage);
  if (next_operation_ == list.size()) return list_ended();
  const size_t count = list[next_operation_].is_beside_next ? 2 : 1;
  const std::span<const config::Operation> next(list.data() + next_operation_, count);
  for (const config::Operation& operation : next) {
    if (is_ready(operation)) continue;
    const bool is_forward = operation.kind == config::Operation::Kind::forward;
    return waits_for(is_forward ? "forward" : "backward",
                     static_cast<uint64_t>(operation.micro_batch));
  }
  const size_t first = std::exchange(next_operation_, next_operation_ + count);
  running_ = static_cast<int>(count);  // before any of them may end
  for (size_t i = 0; i < count; ++i) begin(first + i);
}

bool StageActor::is_ready(const config::Operation& operation) const {
  const auto has = [&](wire::Operation kind) {
    return inbox_.contains({operation.stage, static_cast<uint32_t>(operation.micro_batch), kind});
  };
  switch (operation.kind) {
    case config::Operation::Kind::forward: return operation.stage == 0 || has(wire::FORWARD);
    case config::Operation::Kind::backward_weight: return true;  // behind its backward in the list
    case config::Operation::Kind::backward:
    case config::Operation::Kind::backward_input: break;
  }
  return operation.stage == company().last_stage() || has(wire::BACKWARD);
}

void StageActor::begin(size_t at) {
  const config::Operation& operation = lists_->of(place().stage)[at];
  const bool is_forward = operation.kind == config::Operation::Kind::forward;
  comes_to(is_forward ? Phase::forward : Phase::backward, step().step());
  mark(&runtime::ListRecording::began, at);
  if (is_forward) return begin_forward(operation.stage, operation.micro_batch, at);
  const PassagePtr passage =
      passages_.at({operation.stage, static_cast<uint32_t>(operation.micro_batch)});
  passage->operation = at;
  if (operation.kind == config::Operation::Kind::backward_weight) return begin_weights(passage);
  passage->leaves_weights = operation.kind == config::Operation::Kind::backward_input;
  begin_backward(passage);
}

/// The next operation may be enqueued at once: the queue keeps the order.
void StageActor::operation_ended(const PassagePtr& passage) {
  mark(&runtime::ListRecording::ended, passage->operation);
  if (--running_ == 0) play();
}

void StageActor::list_ended() {
  if (weights_asked_ > 0 || has_ended_) return;
  has_ended_ = true;
  when_done([this] {
    if (recording_) recording_->list_ended(runtime::trace_clock_ns());
    promise_->deliver(Pb<wire::StepReport>(std::move(report_)));
    promise_.reset();
  });
}

void StageActor::report_losses(const Passage& passage) {
  uint32_t faults = report_.faults();
  const auto fixed = [&](const HeadEnd& head) {
    return kernels::to_fixed_point(head.loss(), step().scale_bits(), numbers().micro_batches,
                                   faults);
  };
  wire::UnitLosses& unit = *report_.add_losses();
  unit.set_micro_batch(passage.micro_batch);
  unit.set_main(fixed(passage.heads[0]));
  for (size_t m = 1; m < passage.heads.size(); ++m) unit.add_mtp(fixed(passage.heads[m]));
  report_.set_faults(faults);
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
  header.set_leaves_weights(passage.leaves_weights && operation == wire::BACKWARD);
  return header;
}

void StageActor::ask_attention(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                               const runtime::TensorRef& x) {
  const int shard = attention_shard_of(passage->micro_batch);
  const Address to{Role::attention_shard, place().stage, place().worker, shard};
  TokenMessage message{header(*passage, layer, operation), {x}};
  waits_for("attended", static_cast<uint64_t>(layer));
  if (operation == wire::FORWARD) {
    send_in_order(to, forward_atom_v, std::move(message));
  } else {
    send_in_order(to, backward_atom_v, std::move(message));
  }
}

void StageActor::ask_router(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                            const runtime::TensorRef& x) {
  const Address to{Role::router, place().stage, place().worker, static_cast<int>(layer)};
  waits_for("routed", static_cast<uint64_t>(layer));
  TokenMessage message{header(*passage, layer, operation), {x}};
  if (operation == wire::FORWARD) {
    send_in_order(to, forward_atom_v, std::move(message));
  } else {
    send_in_order(to, backward_atom_v, std::move(message));
  }
}

void StageActor::ask_for_weights(const PassagePtr& passage, int64_t layer) {
  const TokenMessage message{header(*passage, layer, wire::BACKWARD_WEIGHT), {}};
  const int shard = attention_shard_of(passage->micro_batch);
  send_when_done({Role::attention_shard, place().stage, place().worker, shard}, backward_atom_v,
                 message);
  ++weights_asked_;
  if (company().recipe.shape.is_dense(layer)) return;
  send_when_done({Role::router, place().stage, place().worker, static_cast<int>(layer)},
                 backward_atom_v, message);
  ++weights_asked_;
}

void StageActor::weights_added() {
  --weights_asked_;
  play();
}

StageActor::PassagePtr StageActor::passage_of(const TokenMessage& message, Edge edge) {
  if (!accept(message, edge)) return nullptr;
  if (message.id().operation() == wire::BACKWARD_WEIGHT) {
    weights_added();
    return nullptr;
  }
  const auto found =
      passages_.find({company().stage_of(message.id().layer()), message.id().micro_batch()});
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
