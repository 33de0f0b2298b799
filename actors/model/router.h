#pragma once

#include "actors/lane_actor.h"
#include "actors/model/routed_block.h"

namespace troupe::actors {

/// The gate of one MoE layer for one data worker: chooses experts, dispatches rows to their shards
/// and combines what comes back. Its address has the layer as index.
class RouterActor : public LaneActor<Router> {
 public:
  using Super::Super;

  behavior_type make_behavior() override;

 private:
  struct Passage {
    Passage(Company& company, const Address& place, StepView view)
        : scratch(company.device),
          block(company.tensors, company.recipe, place.index, view,
                company.expert_holders(company.stage_of(place.index), company.plan.replica_of(place.worker))) {}
    kernels::Scratch scratch;
    RoutedBlock block;
    wire::UnitId id;                           // as the stage sent it
    runtime::TensorRef x, dy;
    std::vector<TokenMessage> received;        // by shard, as they come
    size_t missing = 0;                        // shards that have not answered
    bool leaves_weights = false;               // its backward does
  };

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  void forward(const TokenMessage& message);
  void backward(const TokenMessage& message);
  void expert_rows(const TokenMessage& message);
  caf::result<Pb<wire::StepReport>> report(uint64_t step);

  void dispatch(const std::shared_ptr<Passage>& passage);
  void send_rows(const std::shared_ptr<Passage>& passage, const Dispatched& rows);
  static runtime::TensorRef rows_of(const Passage& passage, const kernels::ConstTensor& rows);
  void send_to_host(const std::shared_ptr<Passage>& passage, const HostRows& rows);
  std::vector<ExpertAnswer> answers(const Passage& passage) const;
  void ask_for_weights(const std::shared_ptr<Passage>& passage);
  Address expert_shard(size_t index);
  void combine(const std::shared_ptr<Passage>& passage);
  void combine_backward(const std::shared_ptr<Passage>& passage);
  void record(const Passage& passage, const wire::UnitId& id);

  std::map<uint32_t, std::shared_ptr<Passage>> passages_;
  kernels::Buffer bias_;  // [E], of this step
  wire::StepReport report_;
};

}  // namespace troupe::actors
