// How a stage walks its layers: forward upward, backward downward.
#include "actors/model/stage.h"

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Tensor;

void StageActor::begin_forward(int stage, int micro_batch, size_t operation) {
  const auto number = static_cast<uint32_t>(micro_batch);
  auto passage = std::make_shared<Passage>(queue().device());
  passage->micro_batch = number;
  passage->stage = stage;
  passage->operation = operation;
  passage->tokens = &tokens_.micro_batches->at(number);
  passages_[{stage, number}] = passage;
  if (stage == 0) {
    passage->embedding.emplace(company().tensors, view(number));
    const Tensor x = passage->embedding->forward(queue(), passage->scratch, *passage->tokens);
    return ask_attention(passage, 0, wire::FORWARD, share(passage->scratch, x));
  }
  const auto node = inbox_.extract({stage, number, wire::FORWARD});
  passage->received.push_back(node.mapped().tensors.at(0));
  ask_attention(passage, first_layer(*passage), wire::FORWARD, passage->received.back());
}

void StageActor::forward_mlp(const PassagePtr& passage, int64_t layer,
                             const runtime::TensorRef& x) {
  MlpBlock& block = passage->blocks
                        .emplace(layer, MlpBlock(company().tensors, company().recipe, layer,
                                         view(passage->micro_batch)))
                        .first->second;
  block.normalise(queue(), passage->scratch, x);
  const bool has_experts = !company().recipe.shape.is_dense(layer);
  if (has_experts) ask_router(passage, layer, wire::FORWARD, share(passage->scratch, block.normed()));
  block.forward_own(queue(), passage->scratch);  // beside the routed experts' work
  if (has_experts) return;
  forward_above(passage, layer, block.finish_forward(queue(), passage->scratch, {}));
}

void StageActor::forward_above(const PassagePtr& passage, int64_t layer, const Tensor& x) {
  const kernels::ModelShape& s = company().recipe.shape;
  if (layer + 1 < end_layer(*passage)) {
    ask_attention(passage, layer + 1, wire::FORWARD, share(passage->scratch, x));
    return let_go();
  }
  if (!is_last(*passage)) {
    send_when_done(stage_of(passage->stage + 1, passage->micro_batch), forward_atom_v,
                   {header(*passage, layer, wire::FORWARD), {share(passage->scratch, x)}});
    return operation_ended(passage);
  }
  const int64_t module = layer - s.layers;  // -1: the main model's head
  const MicroBatch& tokens =
      module < 0 ? *passage->tokens : passage->ahead[static_cast<size_t>(module)];
  const int64_t targets =
      module < 0 ? step().main_targets() : step().mtp_targets(static_cast<int>(module));
  HeadEnd& head = passage->heads.emplace_back(company().tensors, company().recipe,
                                              module < 0 ? -1 : module, view(passage->micro_batch));
  head.forward(queue(), passage->scratch, x, tokens.targets, targets);
  const int64_t next = module < 0 ? 0 : module + 1;
  if (next < s.mtp_layers) return forward_module(passage, next);
  operation_ended(passage);
}

void StageActor::forward_module(const PassagePtr& passage, int64_t module) {
  const MicroBatch& ahead = passage->ahead.emplace_back(mtp_batch(*passage->tokens, module));
  MtpEnd& end = passage->modules.emplace_back(company().tensors, company().recipe, module,
                                              view(passage->micro_batch));
  const Tensor x =
      end.forward(queue(), passage->scratch, passage->heads.back().normed(), ahead);
  ask_attention(passage, company().recipe.shape.layers + module, wire::FORWARD,
                share(passage->scratch, x));
}

void StageActor::begin_backward(const PassagePtr& passage) {
  if (is_last(*passage)) return backward_head(passage, company().recipe.shape.mtp_layers - 1, {});
  const auto node = inbox_.extract({passage->stage, passage->micro_batch, wire::BACKWARD});
  passage->received.push_back(node.mapped().tensors.at(0));
  backward_mlp(passage, end_layer(*passage) - 1, passage->received.back());
}

/// What the backward of a passage has left, here and at its shards and routers.
void StageActor::begin_weights(const PassagePtr& passage) {
  const int64_t modules = is_last(*passage) ? company().recipe.shape.mtp_layers : 0;
  for (int64_t layer = end_layer(*passage) + modules; layer-- > first_layer(*passage);) {
    ask_for_weights(passage, layer);
  }
  passage->leaves_weights = false;
  for (const auto& work : passage->left) enqueue_units(passage, work);
  finish(passage);
  operation_ended(passage);
}

void StageActor::finish(const PassagePtr& passage) {
  passages_.erase({passage->stage, passage->micro_batch});
  if (!is_last(*passage)) return release_when_done(passage);
  finished_.push_back(passage);
  when_done([this] {
    report_losses(*finished_.front());
    finished_.pop_front();
    play();  // it says again what it waits for
  });
}

/// From head `module` down into its topmost layer; `dnormed` comes from the module above.
void StageActor::backward_head(const PassagePtr& passage, int64_t module, const Tensor& dnormed) {
  HeadEnd& head = passage->heads[static_cast<size_t>(module + 1)];
  const Tensor dx = head.backward(queue(), passage->scratch, dnormed);
  const int64_t layer =
      module < 0 ? end_layer(*passage) - 1 : company().recipe.shape.layers + module;
  backward_mlp(passage, layer, share(passage->scratch, dx));
  enqueue_units(passage, [this, &head](kernels::Scratch& units) {
    head.backward_weights(queue(), units);
  });
}

void StageActor::backward_mlp(const PassagePtr& passage, int64_t layer,
                              const runtime::TensorRef& dy) {
  const bool has_experts = !company().recipe.shape.is_dense(layer);
  if (has_experts) ask_router(passage, layer, wire::BACKWARD, dy);
  passage->blocks.at(layer).backward(queue(), passage->scratch, dy);
  if (!has_experts) backward_attention(passage, layer, {});
}

void StageActor::backward_attention(const PassagePtr& passage, int64_t layer,
                                    const ConstTensor& drouted) {
  MlpBlock& block = passage->blocks.at(layer);
  const Tensor dx = block.finish_backward(queue(), passage->scratch, drouted);
  ask_attention(passage, layer, wire::BACKWARD, share(passage->scratch, dx));
  enqueue_units(passage, [this, &block](kernels::Scratch& units) {
    block.backward_weights(queue(), units);
  });
  let_go();
}

void StageActor::backward_below(const PassagePtr& passage, int64_t layer,
                                const runtime::TensorRef& dx) {
  const int64_t module = layer - company().recipe.shape.layers;
  if (module >= 0) {
    MtpEnd& end = passage->modules[static_cast<size_t>(module)];
    const Tensor dnormed = end.backward(queue(), passage->scratch, dx);
    backward_head(passage, module - 1, dnormed);
    return enqueue_units(passage, [this, &end](kernels::Scratch& units) {
      end.backward_weights(queue(), units);
    });
  }
  if (layer > first_layer(*passage)) return backward_mlp(passage, layer - 1, dx);
  if (passage->stage > 0) {
    // The gradient's memory is the attention shard's; it goes on with the message.
    send_when_done(stage_of(passage->stage - 1, passage->micro_batch), backward_atom_v,
                   {header(*passage, layer, wire::BACKWARD), {dx}});
  } else {
    enqueue_units(passage, [this, &p = *passage, dx](kernels::Scratch& units) {
      p.embedding->backward_weights(queue(), units, *p.tokens, dx);
    });
  }
  if (!passage->leaves_weights) finish(passage);
  operation_ended(passage);
}

runtime::ListRecordingPtr StageActor::record_list() const {
  if (!company().trace || !company().trace->wants(static_cast<int64_t>(step().step()))) return nullptr;
  runtime::TracedList list;
  list.step = static_cast<int64_t>(step().step());
  list.worker = place().worker;
  list.rank = place().stage;
  list.begin_ns = runtime::trace_clock_ns();
  for (const config::Operation& operation : lists_->of(place().stage)) {
    const auto [stage, micro_batch] = std::pair(operation.stage, operation.micro_batch);
    const bool is_forward = operation.kind == config::Operation::Kind::forward;
    const bool needs_none = operation.kind == config::Operation::Kind::backward_weight ||
                            stage == (is_forward ? 0 : company().last_stage());
    runtime::TracedOperation& traced = list.operations.emplace_back();
    traced.operation = operation;
    if (needs_none) continue;
    const int from = lists_->rank_of(is_forward ? stage - 1 : stage + 1, micro_batch);
    traced.from_process = company().placement.process_of({Role::stage, from, place().worker});
  }
  return company().trace->begin(std::move(list));
}

/// What is enqueued before has ended there. One that has failed tells nothing: the step begins anew.
void StageActor::mark(void (runtime::ListRecording::*told)(size_t, int64_t), size_t operation) {
  if (!recording_) return;
  queue().then([recording = recording_, told, operation](std::exception_ptr error) {
    if (!error) ((*recording).*told)(operation, runtime::trace_clock_ns());
  });
}

}  // namespace troupe::actors
