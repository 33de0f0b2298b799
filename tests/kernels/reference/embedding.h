#pragma once

#include <cstdint>
#include <vector>

#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests::reference {

/// y[t] = weight[ids[t]].
inline Doubles embed(const std::vector<int32_t>& ids, const Doubles& weight, size_t width) {
  Doubles y;
  for (const int32_t id : ids) {
    for (size_t i = 0; i < width; ++i) y.push_back(weight[static_cast<size_t>(id) * width + i]);
  }
  return y;
}

/// The sum of dy over the rows of each id.
inline Doubles embed_backward_weights(const std::vector<int32_t>& ids, const Doubles& dy,
                                      size_t vocabulary, size_t width) {
  Doubles dweight(vocabulary * width);
  for (size_t t = 0; t < ids.size(); ++t) {
    for (size_t i = 0; i < width; ++i) {
      dweight[static_cast<size_t>(ids[t]) * width + i] += dy[t * width + i];
    }
  }
  return dweight;
}

}  // namespace troupe::tests::reference
