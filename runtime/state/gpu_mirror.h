// What the GPU has of a state that stands on the host: the weights that forward and backward read,
// and the fixed-point sums that units are added to. AdamW stays with the state, so what is done
// with it (hashes, checkpoints, buddies, repair) knows nothing of a GPU.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/layers/gradient.h"
#include "runtime/state/unit_recorder.h"

namespace troupe::runtime {

class StateArena;
struct Block;

/// Memory of a tensor is taken when it is first asked for. Thread-safe.
class GpuMirror {
 public:
  /// `arena` outlives it. Throws KernelError if there is no GPU.
  explicit GpuMirror(const StateArena& arena);

  /// The weights of `state`, or their EMA. The first call of an attempt copies them and waits for
  /// it; until the attempt is over nothing may change them on the host.
  kernels::ConstTensor weight(int tensor, uint64_t state, const UnitEpoch& attempt, bool reads_ema);

  /// Where units of the step add the tensor's gradient: 0 until then.
  kernels::GradientSum gradient(int tensor, int scale_bits, int64_t units);
  /// A step, or an epoch of it, begins: blocks of what has been asked for become 0.
  void clear(const Block& block);
  /// Copies the block's sums to the host.
  void fetch(const Block& block, const kernels::Tensor& to);
  uint32_t faults() const { return faults_->load(); }
  void forget_faults() { *faults_ = 0; }

 private:
  struct Weights {
    kernels::Buffer values;
    uint64_t state = 0;
    UnitEpoch attempt;
  };
  struct Mirrored {
    std::mutex mutex;
    std::array<Weights, 2> weights;  // and their EMA
    kernels::Buffer gradient;
    std::unique_ptr<kernels::FixedPointLocks> locks;
  };

  const StateArena& arena_;
  std::vector<Mirrored> tensors_;
  kernels::Buffer faults_memory_;
  std::atomic<uint32_t>* faults_;  // in it
};

}  // namespace troupe::runtime
