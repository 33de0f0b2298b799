#pragma once

#include "actors/lane_actor.h"

namespace troupe::actors {

/// MLA over whole micro-batches, for every layer of its rank and data worker.
class AttentionShardActor : public LaneActor<AttentionShard> {
 public:
  using Super::Super;

  behavior_type make_behavior() override;

 private:
  /// A layer's forward that waits for its backward.
  struct Passage {
    explicit Passage(kernels::Device device) : scratch(device) {}
    kernels::Scratch scratch;
    kernels::AttentionBlockArgs args;
    kernels::AttentionBlockSaved saved;
    runtime::TensorRef x, dy;
  };
  using Key = std::pair<uint32_t, int32_t>;  // micro-batch, layer

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  void forward(const TokenMessage& message);
  void backward(const TokenMessage& message);
  void backward_inputs(const TokenMessage& message, Passage& passage);
  caf::result<Pb<wire::StepReport>> report(uint64_t step);
  kernels::Tensor positions_of(int64_t rows, int64_t sequence_rows);

  std::map<Key, std::shared_ptr<Passage>> passages_;
  std::map<std::pair<int64_t, int64_t>, kernels::Buffer> positions_;  // by sequences, rows
};

}  // namespace troupe::actors
