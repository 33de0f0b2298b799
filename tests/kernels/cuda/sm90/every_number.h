// Questions about all numbers of a kind, which the GPU answers in a moment.
#pragma once

#include <cstdint>

namespace troupe::tests {

/// How many pairs of a bfloat16 and a scale have a code by `divided` (kernels/cuda/sm90/quick_math.cuh) that is not that
/// of the quotient to nearest: of all mantissas, and of all exponents of codes.
uint64_t wrong_codes_of_quotients();

/// The greatest distance in ulps of quick_sigmoid from sigmoid, of all bfloat16 up to quick_limit.
int error_of_quick_sigmoid();

}  // namespace troupe::tests
