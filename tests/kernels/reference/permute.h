#pragma once

#include <cstdint>
#include <vector>

#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests::reference {

/// One expert's row of a token: its values, weight and routing group.
struct Contribution {
  Doubles row;
  double weight;
  int32_t group;
};

/// Sum over the groups, in order, of the groups' sums.
inline Doubles combine_row(const std::vector<Contribution>& contributions, size_t width) {
  Doubles y(width);
  for (const Contribution& c : contributions) {
    for (size_t i = 0; i < width; ++i) y[i] += c.weight * c.row[i];
  }
  return y;
}

}  // namespace troupe::tests::reference
