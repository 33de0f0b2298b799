#pragma once

#include <deque>
#include <optional>
#include <span>

#include "actors/lane_actor.h"
#include "actors/model/ends.h"
#include "actors/model/mlp_block.h"
#include "config/plan/schedule.h"

namespace troupe::actors {

/// One pipeline stage of one data worker. Plays its list of operations in order; an operation
/// walks the stage's layers, asking an attention shard and a router in each.
///
/// "Layers" of a walk are the stage's own, then, in the last stage, the MTP modules' (layer
/// `layers + m`): forward goes up through them, backward down.
class StageActor : public LaneActor<Stage> {
 public:
  StageActor(caf::actor_config& config, std::shared_ptr<Company> company, const Address& address,
             runtime::Cell* cell);

  behavior_type make_behavior() override;
  void on_exit() override;

 private:
  /// A micro-batch between its forward and the end of its backward.
  struct Passage {
    uint32_t micro_batch;
    const MicroBatch* tokens;
    kernels::Scratch scratch;
    std::shared_ptr<kernels::Scratch> units;  // while weight gradients are being enqueued
    std::vector<runtime::TensorRef> received;
    std::map<int64_t, MlpBlock> blocks;  // by layer
    std::optional<EmbeddingEnd> embedding;
    std::deque<HeadEnd> heads;  // the main model's, then the MTP modules'
    std::deque<MtpEnd> modules;
    std::deque<MicroBatch> ahead;
  };
  using PassagePtr = std::shared_ptr<Passage>;

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::StepReport>> start(const StepTokens& tokens);
  void received(wire::Operation operation, const TokenMessage& message);
  void attended(const TokenMessage& message);
  void routed(const TokenMessage& message);

  void play();  ///< begins the next operation if what it needs is there
  void begin_forward(int micro_batch);
  void begin_backward(int micro_batch);
  void operation_ended();

  void ask_attention(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                     const runtime::TensorRef& x);
  void ask_router(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                  const runtime::TensorRef& x);
  /// x is the stream behind the layer's attention, and behind the layer.
  void forward_mlp(const PassagePtr& passage, int64_t layer, const runtime::TensorRef& x);
  void forward_above(const PassagePtr& passage, int64_t layer, const kernels::Tensor& x);
  void forward_module(const PassagePtr& passage, int64_t module);
  /// dy is the gradient of a layer's output, of its attention's input.
  void backward_mlp(const PassagePtr& passage, int64_t layer, const runtime::TensorRef& dy);
  void backward_attention(const PassagePtr& passage, int64_t layer,
                          const kernels::ConstTensor& drouted);
  void backward_below(const PassagePtr& passage, int64_t layer, const runtime::TensorRef& dx);
  void backward_head(const PassagePtr& passage, int64_t module, const kernels::Tensor& dnormed);

  /// Calls `f` with scratch for weight gradients, which goes when they have been added. Until then
  /// the passage has it, should `f` throw.
  template <class F>
  void enqueue_units(const PassagePtr& passage, F f) {
    passage->units = std::make_shared<kernels::Scratch>();
    f(*passage->units);
    release_when_done(std::exchange(passage->units, nullptr));
  }

  bool is_last() { return place().stage == company().last_stage(); }
  int64_t first_layer() const { return layers_.first_layer; }
  int64_t end_layer() const { return layers_.first_layer + layers_.layers; }
  Pb<wire::TokenHeader> header(const Passage& passage, int64_t layer, wire::Operation operation);
  PassagePtr passage_of(const TokenMessage& message, Edge edge);
  wire::StepReport losses();
  std::span<const int> micro_batches() const;

  const config::StagePlan layers_;
  std::vector<config::Operation> operations_;
  size_t next_operation_ = 0;
  bool is_playing_ = false;  // an operation is under way
  StepTokens tokens_;
  std::map<uint32_t, PassagePtr> passages_;
  std::map<std::pair<uint32_t, int>, TokenMessage> inbox_;  // by micro-batch and operation
  std::optional<caf::typed_response_promise<Pb<wire::StepReport>>> promise_;
  std::vector<PassagePtr> finished_;  // last stage: their losses are read at the end
};

}  // namespace troupe::actors
