// The tokens of a step, as the model's actors take them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/buffer.h"

namespace troupe::actors {

/// Rows of B sequences of S tokens, one after the other.
struct MicroBatch {
  kernels::Buffer inputs;   ///< [B * S] i32
  kernels::Buffer targets;  ///< [B * S] i32, the next token, or -1: no loss
  int64_t rows = 0;         ///< S

  int64_t sequences() const { return inputs.view.count() / rows; }
};

/// What module `depth` of MTP reads: for row i of a sequence the token at i + 1 + depth, and the
/// target behind it. S - 1 - depth rows a sequence.
MicroBatch mtp_batch(const MicroBatch& main, int64_t depth);

/// [B * S] i32: 0 .. S-1 for each sequence.
kernels::Buffer positions(int64_t sequences, int64_t rows);

/// Denominators of a step's losses: known before backward (sum law).
struct Denominators {
  int64_t main = 0;          ///< targets of the main model in the step
  std::vector<int64_t> mtp;  ///< of each MTP module
  int64_t sequences = 0;
};
Denominators denominators(std::span<const MicroBatch> step, int64_t mtp_layers);

/// From `sequences` rows of S + 1 tokens: inputs are the first S, targets the last S. A negative
/// token marks padding: no loss there, and the input becomes 0.
MicroBatch make_micro_batch(std::span<const int32_t> tokens, int64_t sequences);

}  // namespace troupe::actors
