// A recipe and batches small enough for whole training steps in milliseconds.
#pragma once

#include <vector>

#include "actors/train/batch.h"
#include "actors/train/recipe.h"
#include "kernels/random.h"
#include "tests/small_model.h"

namespace troupe::tests {

inline actors::Recipe small_recipe() {
  config::Optimizer optimizer;
  optimizer.set_lr(3e-3);
  optimizer.set_warmup_steps(2);
  return {.shape = small_shape(),
          .seed = 5,
          .steps = 100,
          .sequences = 2,
          .micro_batches = 3,
          .sequence_rows = 8,
          .optimizer = optimizer,
          .gamma = 1e-3,
          .balance = actors::Balance::sequence,
          .balance_alpha = 1e-2,
          .mtp_weight = 0.3,
          .scale_bits = 50,
          .on_nan = actors::OnNan::stop};
}

/// The micro-batches of a step. Each token follows from the one before, so the text can be learned;
/// sequences begin at random tokens. Some sequences end in padding.
inline std::vector<actors::MicroBatch> learnable_batches(const actors::Recipe& recipe,
                                                         uint64_t step) {
  const int64_t width = recipe.sequence_rows + 1;
  std::vector<actors::MicroBatch> out;
  for (int64_t m = 0; m < recipe.micro_batches; ++m) {
    std::vector<int32_t> tokens;
    for (int64_t b = 0; b < recipe.sequences; ++b) {
      const uint64_t position = (step * 64 + static_cast<uint64_t>(m)) * 64 + static_cast<uint64_t>(b);
      auto token = static_cast<int64_t>(
          kernels::random_below({recipe.seed, kernels::Purpose::test, 1, position},
                                static_cast<uint64_t>(recipe.shape.vocabulary)));
      for (int64_t i = 0; i < width; ++i) {
        const bool is_padding = b == 1 && m == 1 && i + 2 >= width;
        tokens.push_back(is_padding ? -1 : static_cast<int32_t>(token));
        token = (3 * token + 1) % recipe.shape.vocabulary;
      }
    }
    out.push_back(actors::make_micro_batch(tokens, recipe.sequences));
  }
  return out;
}

}  // namespace troupe::tests
