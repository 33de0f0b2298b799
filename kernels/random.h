// Law 5: random numbers are functions of (seed, purpose, ids, position). Nothing carries state.
#pragma once

#include <array>
#include <cstdint>

namespace troupe::kernels {

/// Philox 4x32 with 10 rounds. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2,
/// 3", SC 2011; checked against the known-answer vectors of its reference library.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// What a random number is for. Values are part of every result: never renumber.
enum class Purpose : uint32_t {
  initial_weights = 1,
  holdout = 2,
  shuffle = 3,
  sampling = 4,
  span_corruption = 5,
  failpoints = 6,
  fill_in_the_middle = 7,
  split_joined = 8,
  phase = 9,
  needle = 10,
  test = 1000,
};

/// Names a number: which of a purpose's streams, and where in it.
struct RandomKey {
  uint64_t seed;
  Purpose purpose;
  uint32_t stream;    ///< a tensor, a document, a sequence
  uint64_t position;  ///< an element, a pass, a token
};

/// 64 random bits.
uint64_t random_bits(const RandomKey& key);
/// Uniform in [0, 1), a multiple of 2^-53.
double random_uniform(const RandomKey& key);
/// Standard normal, by Box and Muller's transform of one draw.
double random_normal(const RandomKey& key);
/// Uniform in [0, n), n > 0, without bias worth speaking of (n < 2^32: below 2^-32).
uint64_t random_below(const RandomKey& key, uint64_t n);

}  // namespace troupe::kernels
