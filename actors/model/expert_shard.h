#pragma once

#include "actors/lane_actor.h"
#include "kernels/layers/expert.h"

namespace troupe::actors {

/// A range of routed experts, in every MoE layer of its stage, for all data workers. An expert is
/// addressed by its layer and id: shard, and place within the shard's rows.
class ExpertShardActor : public LaneActor<ExpertShard> {
 public:
  using Super::Super;

  behavior_type make_behavior() override;

 private:
  struct Passage {
    kernels::Scratch scratch;
    kernels::ExpertsArgs args;
    kernels::ExpertsSaved saved;
    runtime::TensorRef rows, dy, weights;
  };
  using Key = std::pair<uint32_t, int32_t>;  // micro-batch, layer

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  void forward(const TokenMessage& message);
  void backward(const TokenMessage& message);
  caf::result<Pb<wire::StepReport>> report();
  Address router_of(const wire::UnitId& id);
  Pb<wire::TokenHeader> answer(const Passage& passage, const wire::UnitId& id);

  std::map<Key, std::shared_ptr<Passage>> passages_;
};

}  // namespace troupe::actors
