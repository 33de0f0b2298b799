#pragma once

#include "actors/lane_actor.h"
#include "kernels/layers/moe/expert.h"
#include "kernels/layers/moe/group_sums.h"

namespace troupe::actors {

/// A range of routed experts, in every MoE layer of its stage, for all data workers of its replica, whose number its
/// address has as worker. An expert is addressed by its layer and id: shard, and place within the shard's rows.
class ExpertShardActor : public LaneActor<ExpertShard> {
 public:
  using Super::Super;

  behavior_type make_behavior() override;

 private:
  struct Passage {
    explicit Passage(kernels::Device device) : scratch(device) {}
    kernels::Scratch scratch;
    kernels::ExpertsArgs args;
    kernels::ExpertsSaved saved;
    runtime::TensorRef rows, dy, weights;
    runtime::TensorRef index;  // [R] i32, which of the rows; of a part, or a table
    bool is_part = false;      // of rows from another process
    kernels::GroupSums sums;   // of a part: what goes back
  };
  using Key = std::pair<uint32_t, int32_t>;  // micro-batch, layer

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  void forward(const TokenMessage& message);
  void backward(const TokenMessage& message);
  void backward_inputs(const TokenMessage& message, Passage& passage);
  void backward_weights(const wire::UnitId& id, Passage& passage);
  void dispatched(const TokenMessage& message);
  void hand_on(const TokenMessage& message, const runtime::TensorRef& rows);
  kernels::ConstTensor near(Passage& passage, const kernels::ConstTensor& table);
  const std::vector<kernels::FfnWeights>& weights_of(int64_t layer);
  const std::shared_ptr<const kernels::ExpertCodes>& codes_of(int64_t layer);
  std::vector<runtime::TensorRef> reply(Passage& passage, const kernels::Tensor& rows,
                                        const kernels::ConstTensor& weights);
  caf::result<Pb<wire::StepReport>> report(uint64_t step);
  Address router_of(const wire::UnitId& id);
  Pb<wire::TokenHeader> answer(const Passage& passage, const wire::UnitId& id);

  std::map<Key, std::shared_ptr<Passage>> passages_;
  std::map<int64_t, std::vector<kernels::FfnWeights>> weights_;  // of the step, by layer
  std::map<int64_t, std::shared_ptr<const kernels::ExpertCodes>> codes_;  // likewise
};

}  // namespace troupe::actors
