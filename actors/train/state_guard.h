// Whether a state is still what it was when it was made: memory may change what nobody has written.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/queue.h"
#include "runtime/state/arena.h"

namespace troupe::actors {

/// What an optimizer shard holds of a run's state: its blocks, copies of others', and weights of others
/// that its process computes with. All calls are of one queue.
class StateGuard {
 public:
  StateGuard() : StateGuard({}, {}) {}
  StateGuard(std::vector<int64_t> whole, std::vector<int64_t> weights);

  /// Enqueues that the hashes of a state are taken; [whole, in the order given], there when the queue
  /// is that far.
  std::shared_ptr<const std::vector<uint64_t>> note(kernels::Queue& queue, runtime::StateArena& arena,
                                                    uint64_t state);
  /// Enqueues that the state is held against its note: not 0 for each block (whole, then weights) that
  /// is not the same any more. Nothing is done for a state without a note.
  std::shared_ptr<const std::vector<uint8_t>> check(kernels::Queue& queue,
                                                    runtime::StateArena& arena, uint64_t state);
  /// Of that answer, when it is there.
  std::vector<int64_t> damaged(const std::vector<uint8_t>& differs) const;

 private:
  struct Held {
    std::vector<int64_t> whole, weights;

    size_t count() const { return whole.size() + weights.size(); }
    int64_t id(size_t i) const { return i < whole.size() ? whole[i] : weights[i - whole.size()]; }
    uint64_t hash(runtime::StateArena& arena, size_t i, uint64_t state) const;
  };

  std::shared_ptr<const Held> held_;  // operations in the queue may outlive the actor
  uint64_t noted_ = 0;                      // state; 0: none
  std::shared_ptr<std::vector<uint64_t>> hashes_;
};

}  // namespace troupe::actors
