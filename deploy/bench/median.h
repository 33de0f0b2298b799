#pragma once

#include <algorithm>
#include <vector>

namespace troupe::deploy {

/// The upper of the two in the middle; 0 of nothing.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace troupe::deploy
