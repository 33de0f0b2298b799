#include "actors/train/plain_loop.h"

#include <atomic>
#include <cstring>
#include <deque>
#include <numeric>

#include "actors/model/ends.h"
#include "actors/model/mlp_block.h"
#include "actors/model/routed_block.h"
#include "actors/train/apply_block.h"
#include "kernels/layers/moe/expert.h"
#include "runtime/state/hash.h"

namespace troupe::actors {
namespace {

using kernels::ConstTensor;
using kernels::Queue;
using kernels::Scratch;
using kernels::Tensor;

template <class T>
std::vector<T> to_host(const ConstTensor& t) {
  const kernels::Buffer host = kernels::on_host(t);
  const T* data = kernels::values<T>(host.view);
  return {data, data + t.count()};
}

uint64_t next_number() {
  static std::atomic<uint64_t> loops{0};
  return ++loops;
}

}  // namespace

/// One micro-batch on its way through the model and back.
struct PlainLoop::Pass {
  struct LayerPass {
    kernels::AttentionBlockArgs attention_args;
    kernels::AttentionBlockSaved attention;
    MlpBlock mlp;
    std::optional<RoutedBlock> routed;
    kernels::ExpertsArgs experts_args;
    kernels::ExpertsSaved experts;
  };

  PlainLoop& loop;
  const StepNumbers& numbers;
  const StepView view;
  const Denominators& step;
  StepSums& sums;
  const Attempt& attempt;
  ForwardView* shown;
  Scratch scratch;
  Scratch unit_scratch;
  std::deque<LayerPass> layers;

  Queue& queue() { return loop.queue_; }

  /// One layer forward: attention, then experts or the dense MLP.
  Tensor forward(int64_t layer, const Tensor& x, const Tensor& positions, int64_t rows) {
    const Recipe& recipe = loop.recipe_;
    layers.push_back({{}, {}, MlpBlock(loop.tensors_, recipe, layer, view), {}, {}, {}});
    LayerPass& pass = layers.back();
    pass.attention_args = {
        .context = loop.contexts_.of(numbers.phase),
        .weights = loop.tensors_.attention(layer, view),
        .x = x, .positions = positions, .sequence_rows = rows};
    const Tensor y = scratch.f32({x.rows(), x.cols()});
    pass.attention = kernels::attention_block_forward(queue(), scratch, pass.attention_args, y);
    pass.mlp.normalise(queue(), scratch, y);
    pass.mlp.forward_own(queue(), scratch);
    if (recipe.shape.is_dense(layer)) return pass.mlp.finish_forward(queue(), scratch, {});
    return pass.mlp.finish_forward(queue(), scratch, experts_forward(layer, pass, rows));
  }

  Tensor experts_forward(int64_t layer, LayerPass& pass, int64_t rows) {
    const Recipe& recipe = loop.recipe_;
    const int64_t E = recipe.shape.experts;
    const size_t moe_layer = static_cast<size_t>(layer - recipe.shape.dense_layers);
    const Tensor bias = scratch.shared(kernels::DType::f32, {E});
    std::copy_n(loop.bias_.values.data() + moe_layer * static_cast<size_t>(E), E,
                kernels::values<float>(bias));
    pass.routed.emplace(loop.tensors_, recipe, layer, view, ExpertHolders::one(E));
    pass.routed->choose(queue(), scratch, pass.mlp.normed(), bias);
    pass.routed->balance(queue(), scratch, rows, step.sequences);
    queue().wait();
    const DispatchedRows part = pass.routed->dispatch(queue(), scratch).here.at(0);
    pass.experts_args.options = ffn_options(recipe, true);
    pass.experts_args.weights = loop.tensors_.experts(layer, 0, E, view);
    pass.experts_args.offsets = part.offsets;
    pass.experts_args.x = part.rows;
    pass.experts_args.index = part.index;
    pass.experts = kernels::experts_forward(queue(), scratch, pass.experts_args);
    record_routing(moe_layer, *pass.routed);
    return pass.routed->combine(queue(), scratch, {{pass.experts.y, {}, {}}});
  }

  void record_routing(size_t moe_layer, const RoutedBlock& routed) {
    const auto loads = routed.loads();
    auto* rows = sums.loads[moe_layer].mutable_rows();
    for (size_t e = 0; e < loads.size(); ++e) rows->Set(static_cast<int>(e), rows->Get(static_cast<int>(e)) + loads[e]);
    sums.balance_loss += kernels::to_fixed_point(routed.balance_loss(), attempt.scale_bits,
                                                 numbers.micro_batches * loop.recipe_.moe_layers(),
                                                 sums.faults);
    if (shown == nullptr) return;
    shown->expert_ids.push_back(to_host<int32_t>(routed.gate().expert_ids));
    shown->expert_weights.push_back(to_host<float>(routed.gate().weights));
  }

  /// One layer backward; `number` counts passes, which are layers in forward order.
  Tensor backward(size_t number, int64_t layer, const Tensor& dy) {
    LayerPass& pass = layers[number];
    pass.mlp.backward(queue(), scratch, dy);
    Tensor drouted{};
    if (pass.routed) drouted = experts_backward(layer, pass, dy);
    const Tensor dattention = pass.mlp.finish_backward(queue(), scratch, drouted);
    pass.mlp.backward_weights(queue(), unit_scratch);
    const Tensor dx = scratch.f32({dy.rows(), dy.cols()});
    // What is computed again goes with the layer, as it does with an attention shard's passage.
    kernels::attention_block_backward_inputs(queue(), unit_scratch, pass.attention_args,
                                             pass.attention, dattention, dx);
    kernels::attention_block_backward_weights(queue(), unit_scratch, pass.attention_args,
                                              pass.attention, dattention,
                                              loop.tensors_.attention_gradients(layer, view));
    queue().wait();
    unit_scratch.clear();
    return dx;
  }

  Tensor experts_backward(int64_t layer, LayerPass& pass, const Tensor& dy) {
    const DispatchedRows part = pass.routed->dispatch_backward(queue(), scratch, dy).here.at(0);
    const Tensor dx = pass.experts.y;  // in its place
    const Tensor dweights = scratch.f32({dx.rows()});
    kernels::experts_backward_inputs(queue(), scratch, pass.experts_args, pass.experts,
                                     {.dy = part.rows, .weights = part.weights, .dx = dx,
                                      .dweights = dweights});
    std::vector<kernels::FfnGradients> gradients;
    for (int64_t e = 0; e < loop.recipe_.shape.experts; ++e) {
      gradients.push_back(loop.tensors_.expert_gradients(layer, e, view));
    }
    kernels::experts_backward_weights(queue(), unit_scratch, pass.experts_args, pass.experts,
                                      gradients);
    const Tensor drouted = pass.routed->combine_backward(queue(), scratch, {{dx, {}, dweights}});
    pass.routed->backward_weights(queue(), unit_scratch);
    return drouted;
  }

  /// A head's logits, computed again if they were too many to keep.
  std::vector<float> logits_of(const HeadEnd& head) {
    Tensor logits = head.saved().logits;
    if (logits.data == nullptr) {
      const ConstTensor weight = loop.tensors_.head(view);
      logits = scratch.f32({head.normed().rows(), weight.rows()});
      kernels::head_logits(queue(), weight, head.normed(), logits);
      queue().wait();
    }
    return to_host<float>(logits);
  }

  void add_loss(const HeadEnd& head, int64_t& into) {
    into += kernels::to_fixed_point(head.loss(), attempt.scale_bits, numbers.micro_batches,
                                    sums.faults);
  }
};

PlainLoop::PlainLoop(runtime::StateArena& arena, const Recipe& recipe, kernels::Queue& queue)
    : arena_(arena), recipe_(recipe), timeline_(recipe), queue_(queue),
      state_queue_(queue, kernels::Device::cpu), tensors_(arena, recipe, queue.device(), false),
      contexts_(recipe_, timeline_, queue.device()), number_(next_number()) {
  bias_.values.assign(static_cast<size_t>(recipe.moe_layers() * recipe.shape.experts), 0.0f);
}

void PlainLoop::micro_batch(const MicroBatch& batch, const Denominators& step,
                            const Attempt& attempt, StepSums& sums, ForwardView* view) {
  const kernels::ModelShape& s = recipe_.shape;
  const StepNumbers numbers = timeline_.at(attempt.step);
  const StepView version{.state = attempt.step - 1,
                         .scale_bits = attempt.scale_bits,
                         .epoch = {.term = number_, .n = attempts_, .step = attempt.step},
                         .micro_batches = numbers.micro_batches,
                         .mtp_weight = numbers.mtp_weight};
  const kernels::Device device = queue_.device();
  Pass pass{*this,   numbers, version,         step, sums,
            attempt, view,    Scratch(device), Scratch(device), {}};
  EmbeddingEnd embedding(tensors_, version);
  HeadEnd head(tensors_, recipe_, -1, version);
  std::deque<MtpEnd> mtp;
  std::deque<HeadEnd> mtp_heads;
  std::deque<MicroBatch> ahead;

  const Tensor all_positions = pass.scratch.keep(positions(batch.sequences(), batch.rows));
  Tensor x = embedding.forward(queue_, pass.scratch, batch);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    x = pass.forward(layer, x, all_positions, batch.rows);
  }
  head.forward(queue_, pass.scratch, x, batch.targets, step.main);
  Tensor h = head.normed();
  for (int64_t m = 0; m < s.mtp_layers; ++m) {
    const MicroBatch& next = ahead.emplace_back(mtp_batch(batch, m));
    MtpEnd& module = mtp.emplace_back(tensors_, recipe_, m, version);
    HeadEnd& module_head = mtp_heads.emplace_back(tensors_, recipe_, m, version);
    const Tensor in = module.forward(queue_, pass.scratch, h, next);
    const Tensor at = pass.scratch.keep(positions(next.sequences(), next.rows));
    const Tensor out = pass.forward(s.layers + m, in, at, next.rows);
    module_head.forward(queue_, pass.scratch, out, next.targets, step.mtp[static_cast<size_t>(m)]);
    h = module_head.normed();
  }
  queue_.wait();
  pass.add_loss(head, sums.main_loss);
  if (view != nullptr) {
    view->hidden = to_host<float>(head.normed());
    view->logits = pass.logits_of(head);
  }

  Tensor dnormed{};  // what comes from the MTP module above
  for (int64_t m = s.mtp_layers - 1; m >= 0; --m) {
    const size_t i = static_cast<size_t>(m);
    pass.add_loss(mtp_heads[i], sums.mtp_loss[i]);
    if (view != nullptr) {
      view->mtp_logits.insert(view->mtp_logits.begin(), pass.logits_of(mtp_heads[i]));
    }
    const Tensor dout = mtp_heads[i].backward(queue_, pass.scratch, dnormed);
    mtp_heads[i].backward_weights(queue_, pass.unit_scratch);
    const Tensor din = pass.backward(static_cast<size_t>(s.layers + m), s.layers + m, dout);
    dnormed = mtp[i].backward(queue_, pass.scratch, din);
    mtp[i].backward_weights(queue_, pass.unit_scratch);
  }
  Tensor dx = head.backward(queue_, pass.scratch, dnormed);
  head.backward_weights(queue_, pass.unit_scratch);
  for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
    dx = pass.backward(static_cast<size_t>(layer), layer, dx);
  }
  embedding.backward_weights(queue_, pass.unit_scratch, batch, dx);
  queue_.wait();
}

StepSums PlainLoop::gradients(std::span<const MicroBatch> batches, std::span<const int> order,
                              const Attempt& attempt, ForwardView* view) {
  StepSums sums;
  sums.mtp_loss.assign(static_cast<size_t>(recipe_.shape.mtp_layers), 0);
  sums.loads.resize(static_cast<size_t>(recipe_.moe_layers()));
  for (auto& layer : sums.loads) layer.mutable_rows()->Resize(static_cast<int>(recipe_.shape.experts), 0);
  ++attempts_;
  arena_.clear_gradients(state_queue_);
  state_queue_.wait();
  const Denominators step = denominators(batches, recipe_.shape.mtp_layers);
  for (size_t i = 0; i < batches.size(); ++i) {
    const size_t which = order.empty() ? i : static_cast<size_t>(order[i]);
    micro_batch(batches[which], step, attempt, sums, view);
  }
  arena_.fetch_gradients(state_queue_);
  sums.faults |= arena_.faults();
  sums.block_norms.resize(arena_.blocks().size());
  for (size_t id = 0; id < sums.block_norms.size(); ++id) {
    kernels::squared_norm(state_queue_, {.gradient = arena_.block_gradient(static_cast<int64_t>(id)),
                                   .scale_bits = attempt.scale_bits,
                                   .sum = &sums.block_norms[id]});
  }
  state_queue_.wait();
  return sums;
}

wire::StepRecord PlainLoop::step(std::span<const MicroBatch> batches, std::span<const int> order) {
  Attempt attempt{.step = steps_done_ + 1, .epoch = {}, .scale_bits = recipe_.scale_bits};
  StepSums sums = gradients(batches, order, attempt);
  while (const auto again = next_attempt(attempt, sums.faults)) {
    attempt = *again;
    sums = gradients(batches, order, attempt);
  }
  if (sums.faults != 0 && recipe_.on_nan == OnNan::stop) {
    throw runtime::StateError(stop_message(attempt, sums.faults));
  }
  const wire::StepRecord record = make_record({.recipe = recipe_,
                                               .attempt = attempt,
                                               .numbers = timeline_.at(attempt.step),
                                               .trend = trend_,
                                               .bias = bias_,
                                               .sums = sums});
  const std::string objection = spike_objection(recipe_, record);
  if (!objection.empty()) throw runtime::StateError(objection);
  apply(record);
  return record;
}

void PlainLoop::apply(const wire::StepRecord& record) {
  const uint64_t state = record.step();
  const kernels::AdamWStep adamw = adamw_step(recipe_, record);
  for (int64_t id = 0; id < static_cast<int64_t>(arena_.blocks().size()); ++id) {
    const auto& spec = arena_.spec(arena_.blocks()[static_cast<size_t>(id)].tensor);
    apply_block(state_queue_, arena_, {id, state, record.apply(), adamw,
                                 weight_decay(recipe_, spec), ema_rate(recipe_),
                                 record.scale_bits()});
  }
  state_queue_.wait();
  steps_done_ = state;
  consumed_tokens_ = record.consumed_tokens();
  trend_ = record.trend();
  bias_.values.assign(record.bias().begin(), record.bias().end());
  bias_.version = state;
}

uint64_t PlainLoop::hash() {
  std::vector<uint64_t> blocks(arena_.blocks().size());
  for (size_t id = 0; id < blocks.size(); ++id) {
    blocks[id] = runtime::block_hash(arena_, static_cast<int64_t>(id), steps_done_);
  }
  return runtime::state_hash(arena_, {name_of(recipe_.arithmetic), consumed_tokens_, bias_.values, blocks});
}

}  // namespace troupe::actors
