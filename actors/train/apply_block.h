// The apply of a commit to one state block: state N - 1 and gradient N give state N.
#pragma once

#include "kernels/optimizer.h"
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

}  // namespace troupe::actors
