// The choice of a token from logits: a pure function, without state (law 5).
#pragma once

#include <cstdint>
#include <span>

namespace troupe::actors {

struct SampleArgs {
  std::span<const float> logits;  ///< [V]
  double temperature;             ///< 0: the greatest logit
  double top_p;                   ///< tokens that together have this probability, at least one; 1: all
  uint64_t seed;
  uint32_t sequence;
  uint64_t position;              ///< of the token that is drawn
};

/// The lower id wins a tie. NaN logits are never drawn (0 if nothing else is there).
int32_t sample(const SampleArgs& args);

}  // namespace troupe::actors
