#pragma once

#include "actors/lane_actor.h"

namespace troupe::actors {

/// Blocks of the state whose id is index modulo the number of shards: their gradients' norms, and
/// their update when a step is committed.
class OptimizerShardActor : public LaneActor<OptimizerShard> {
 public:
  OptimizerShardActor(caf::actor_config& config, std::shared_ptr<Company> company,
                      const Address& address, runtime::Cell* cell);

  behavior_type make_behavior() override;

 private:
  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::Prepared>> prepare(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::Applied>> commit(const Pb<wire::StepRecord>& record, bool with_hashes);
  void apply(const wire::StepRecord& record);
  void record_weights(const wire::BeginStep& step);
  void record_gradients(const wire::BeginStep& step);
  void hash(uint64_t state, std::shared_ptr<std::vector<uint64_t>> hashes);

  const std::vector<int64_t> blocks_;
};

}  // namespace troupe::actors
