// The apply of a commit to one state block: state N - 1 and gradient N give state N.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/ops/optimizer.h"
#include "runtime/state/arena.h"

namespace troupe::actors {

struct ApplyBlockArgs {
  int64_t block;
  uint64_t state;  ///< N
  bool apply;      ///< false: a skipped step, values are copied
  kernels::AdamWStep adamw;
  float weight_decay;
  float ema_rate;  ///< of states that have an EMA: see kernels::update_ema
  int scale_bits;
};

/// Enqueues the update, that of the EMA behind it, and the stamp. A block whose stamp is N already is left alone, so an
/// interrupted apply can be done again (commit law). Throws StateError if the block does not stand
/// at state N - 1.
void apply_block(kernels::Queue& queue, runtime::StateArena& arena, const ApplyBlockArgs& args);

/// The same for blocks in a queue on the GPU, of the state that stands there: a range at a time, its
/// stamps set when its update has been launched.
struct ApplyRangesArgs {
  std::vector<runtime::BlockRange> ranges;
  uint64_t state;
  bool apply;
  kernels::AdamWStep adamw;
  std::function<float(int tensor)> weight_decay;
  float ema_rate;
  int scale_bits;
};
void apply_ranges(kernels::Queue& queue, runtime::StateArena& arena, const ApplyRangesArgs& args);

/// Enqueues a look at what stands in the blocks by then: what has other values is neither computed with nor
/// sent as that state. The queue fails with StateError, `what_for` ("apply step 4") in it.
void expect_state(kernels::Queue& queue, const runtime::StateArena& arena,
                  std::vector<runtime::BlockRange> ranges, uint64_t state, std::string what_for);

}  // namespace troupe::actors
