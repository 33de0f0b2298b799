#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <tuple>
#include <vector>

#include "actors/lane_actor.h"
#include "actors/model/ends.h"
#include "actors/model/mlp_block.h"
#include "config/schedule/schedule.h"

namespace troupe::actors {

/// One rank of a data worker's pipeline, with its stage, or its two. Plays its list of operations in
/// order, two side by side where the list says so; an operation walks the layers of its stage, asking
/// an attention shard and a router in each.
///
/// "Layers" of a walk are the stage's own, then, in the last stage, the MTP modules' (layer
/// `layers + m`): forward goes up through them, backward down. A backward may leave its weight
/// gradients, its own and those of shards and routers, for an operation of their own.
class StageActor : public LaneActor<Stage> {
 public:
  StageActor(caf::actor_config& config, std::shared_ptr<Company> company, const Address& address,
             runtime::Cell* cell);

  behavior_type make_behavior() override;
  void on_exit() override;

 private:
  /// A micro-batch in a stage, between its forward and the end of its backward.
  struct Passage {
    explicit Passage(kernels::Device device) : scratch(device) {}
    uint32_t micro_batch;
    int stage;
    size_t operation = 0;  // of the list, that it is in
    bool leaves_weights = false;  // its backward does
    const MicroBatch* tokens;
    kernels::Scratch scratch;
    std::shared_ptr<kernels::Scratch> units;  // while weight gradients are being enqueued
    std::vector<runtime::TensorRef> received;
    std::map<int64_t, MlpBlock> blocks;  // by layer
    std::optional<EmbeddingEnd> embedding;
    std::deque<HeadEnd> heads;  // the main model's, then the MTP modules'
    std::deque<MtpEnd> modules;
    std::deque<MicroBatch> ahead;
    std::vector<std::function<void(kernels::Scratch&)>> left;  // weight gradients, for later
  };
  using PassagePtr = std::shared_ptr<Passage>;
  using InboxKey = std::tuple<int, uint32_t, int>;  // stage, micro-batch, operation

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::StepReport>> start(const StepTokens& tokens);
  void received(wire::Operation operation, const TokenMessage& message);
  void attended(const TokenMessage& message);
  void routed(const TokenMessage& message);

  void play();  ///< begins what is next, if what it needs is there
  bool is_ready(const config::Operation& operation) const;
  void begin(size_t operation);  ///< of the list
  void begin_forward(int stage, int micro_batch, size_t operation);
  void begin_backward(const PassagePtr& passage);
  void begin_weights(const PassagePtr& passage);
  void operation_ended(const PassagePtr& passage);
  void list_ended();

  /// A recording of what it plays; null: nobody wants this step's.
  runtime::ListRecordingPtr record_list() const;
  /// Tells the recording, if there is one, when the lane comes to this place.
  void mark(void (runtime::ListRecording::*told)(size_t, int64_t), size_t operation);

  void ask_attention(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                     const runtime::TensorRef& x);
  void ask_router(const PassagePtr& passage, int64_t layer, wire::Operation operation,
                  const runtime::TensorRef& x);
  /// Those of shard and router of a layer that a backward has left.
  void ask_for_weights(const PassagePtr& passage, int64_t layer);
  void weights_added();
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
  /// the passage has it, should `f` throw. Or leaves `f` in the passage for later: what it refers to
  /// must live as long as that.
  template <class F>
  void enqueue_units(const PassagePtr& passage, F f) {
    if (passage->leaves_weights) return passage->left.push_back(std::move(f));
    passage->units = std::make_shared<kernels::Scratch>(queue().device());
    f(*passage->units);
    release_when_done(std::exchange(passage->units, nullptr));
  }

  /// Behind its backward: what it keeps goes when its queue has passed, and the last stage's losses
  /// have been read.
  void finish(const PassagePtr& passage);

  bool is_last(const Passage& passage) { return passage.stage == company().last_stage(); }
  int64_t first_layer(const Passage& passage) {
    return company().plan.stages[static_cast<size_t>(passage.stage)].first_layer;
  }
  int64_t end_layer(const Passage& passage) {
    return first_layer(passage) + company().plan.stages[static_cast<size_t>(passage.stage)].layers;
  }
  /// The rank of this data worker where a micro-batch passes a stage.
  Address stage_of(int stage, uint32_t micro_batch) {
    return {Role::stage, lists_->rank_of(stage, static_cast<int>(micro_batch)), place().worker};
  }
  Pb<wire::TokenHeader> header(const Passage& passage, int64_t layer, wire::Operation operation);
  PassagePtr passage_of(const TokenMessage& message, Edge edge);
  void report_losses(const Passage& passage);
  int attention_shard_of(uint32_t micro_batch) const;

  std::vector<int> hand_;                       // its worker's micro-batches of the step, ascending
  std::optional<config::PipelineLists> lists_;  // of the step
  runtime::ListRecordingPtr recording_;         // of the list; null: nobody wants it
  size_t next_operation_ = 0;
  int running_ = 0;         // operations that are under way
  int weights_asked_ = 0;   // of shards and routers, and not answered yet
  bool has_ended_ = false;  // the list, and everything asked has been answered
  StepTokens tokens_;
  std::map<std::pair<int, uint32_t>, PassagePtr> passages_;  // by stage and micro-batch
  std::map<InboxKey, TokenMessage> inbox_;
  std::optional<caf::typed_response_promise<Pb<wire::StepReport>>> promise_;
  std::deque<PassagePtr> finished_;  // of the last stage, whose losses are not ready yet
  wire::StepReport report_;          // losses so far
};

}  // namespace troupe::actors
