#pragma once

#include "actors/lane_actor.h"

namespace troupe::actors {

/// MLA over whole micro-batches, for every layer of its stage and data worker.
class AttentionShardActor : public LaneActor<AttentionShard> {
 public:
  AttentionShardActor(caf::actor_config& config, std::shared_ptr<Company> company, Address address)
      : Super(config, std::move(company)), address_(address) {}
  const char* name() const override { return "attention_shard"; }

  behavior_type make_behavior() override;

 private:
  /// A layer's forward that waits for its backward.
  struct Passage {
    kernels::Scratch scratch;
    kernels::AttentionBlockArgs args;
    kernels::AttentionBlockSaved saved;
    runtime::TensorRef x, dy;
  };
  using Key = std::pair<uint32_t, int32_t>;  // micro-batch, layer

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  void forward(const TokenMessage& message);
  void backward(const TokenMessage& message);
  caf::result<Pb<wire::StepReport>> report();
  kernels::Tensor positions_of(int64_t rows, int64_t sequence_rows);

  const Address address_;
  std::map<Key, std::shared_ptr<Passage>> passages_;
  std::map<std::pair<int64_t, int64_t>, kernels::Buffer> positions_;  // by sequences, rows
};

}  // namespace troupe::actors
