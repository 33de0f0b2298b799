#pragma once

#include <cmath>

#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests::reference {

/// Root mean square norm of rows as wide as the weight.
inline Doubles rms_norm(const Doubles& x, const Doubles& weight, double eps) {
  const size_t D = weight.size();
  Doubles y(x.size());
  for (size_t t = 0; t < x.size() / D; ++t) {
    double squares = 0;
    for (size_t i = 0; i < D; ++i) squares += x[t * D + i] * x[t * D + i];
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(D) + eps);
    for (size_t i = 0; i < D; ++i) y[t * D + i] = x[t * D + i] * inverse * weight[i];
  }
  return y;
}

}  // namespace troupe::tests::reference
