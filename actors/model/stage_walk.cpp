// How a stage walks its layers: forward upward, backward downward.
#include "actors/model/stage.h"

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Tensor;

void StageActor::begin_forward(int micro_batch) {
  const auto number = static_cast<uint32_t>(micro_batch);
  auto passage = std::make_shared<Passage>();
  passage->micro_batch = number;
  passage->tokens = &tokens_.micro_batches->at(number);
  passages_[number] = passage;
  if (place().stage == 0) {
    passage->embedding.emplace(company().tensors, view(number));
    const Tensor x = passage->embedding->forward(queue(), passage->scratch, *passage->tokens);
    return ask_attention(passage, first_layer(), wire::FORWARD, share(passage->scratch, x));
  }
  const auto node = inbox_.extract({number, wire::FORWARD});
  passage->received.push_back(node.mapped().tensors.at(0));
  ask_attention(passage, first_layer(), wire::FORWARD, passage->received.back());
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
  if (layer + 1 < end_layer()) {
    return ask_attention(passage, layer + 1, wire::FORWARD, share(passage->scratch, x));
  }
  if (!is_last()) {
    send_when_done({Role::stage, place().stage + 1, place().worker}, forward_atom_v,
                   {header(*passage, layer, wire::FORWARD), {share(passage->scratch, x)}});
    return operation_ended();
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
  operation_ended();
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

void StageActor::begin_backward(int micro_batch) {
  const auto number = static_cast<uint32_t>(micro_batch);
  const PassagePtr passage = passages_.at(number);
  if (is_last()) return backward_head(passage, company().recipe.shape.mtp_layers - 1, {});
  const auto node = inbox_.extract({number, wire::BACKWARD});
  passage->received.push_back(node.mapped().tensors.at(0));
  backward_mlp(passage, end_layer() - 1, passage->received.back());
}

/// From head `module` down into its topmost layer; `dnormed` comes from the module above.
void StageActor::backward_head(const PassagePtr& passage, int64_t module, const Tensor& dnormed) {
  HeadEnd& head = passage->heads[static_cast<size_t>(module + 1)];
  const Tensor dx = head.backward(queue(), passage->scratch, dnormed);
  const int64_t layer =
      module < 0 ? end_layer() - 1 : company().recipe.shape.layers + module;
  backward_mlp(passage, layer, share(passage->scratch, dx));
  enqueue_units(passage, [&](kernels::Scratch& units) { head.backward_weights(queue(), units); });
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
  enqueue_units(passage, [&](kernels::Scratch& units) { block.backward_weights(queue(), units); });
}

void StageActor::backward_below(const PassagePtr& passage, int64_t layer,
                                const runtime::TensorRef& dx) {
  const int64_t module = layer - company().recipe.shape.layers;
  if (module >= 0) {
    MtpEnd& end = passage->modules[static_cast<size_t>(module)];
    const Tensor dnormed = end.backward(queue(), passage->scratch, dx);
    backward_head(passage, module - 1, dnormed);
    return enqueue_units(
        passage, [&](kernels::Scratch& units) { end.backward_weights(queue(), units); });
  }
  if (layer > first_layer()) return backward_mlp(passage, layer - 1, dx);
  if (place().stage > 0) {
    // The gradient's memory is the attention shard's; it goes on with the message.
    send_when_done({Role::stage, place().stage - 1, place().worker}, backward_atom_v,
                   {header(*passage, layer, wire::BACKWARD), {dx}});
  } else {
    enqueue_units(passage, [&](kernels::Scratch& units) {
      passage->embedding->backward_weights(queue(), units, *passage->tokens, dx);
    });
  }
  passages_.erase(passage->micro_batch);
  if (is_last()) {
    finished_.push_back(passage);
  } else {
    release_when_done(passage);
  }
  operation_ended();
}

}  // namespace troupe::actors
