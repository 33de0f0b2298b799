#pragma once

#include <cstdint>
#include <vector>

#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests::reference {

/// -ln softmax(logits)[target] of each row, 0 where the target is -1.
inline Doubles cross_entropy(const Doubles& logits, const std::vector<int32_t>& targets) {
  const size_t V = logits.size() / targets.size();
  Doubles losses;
  for (size_t t = 0; t < targets.size(); ++t) {
    const double* row = logits.data() + t * V;
    const double most = *std::max_element(row, row + V);
    double sum = 0;
    for (size_t v = 0; v < V; ++v) sum += std::exp(row[v] - most);
    losses.push_back(targets[t] < 0 ? 0 : most + std::log(sum) - row[targets[t]]);
  }
  return losses;
}

/// scale * (softmax - onehot).
inline Doubles cross_entropy_backward(const Doubles& logits, const std::vector<int32_t>& targets,
                                      double scale) {
  const size_t V = logits.size() / targets.size();
  Doubles dlogits(logits.size());
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] < 0) continue;
    double sum = 0;
    for (size_t v = 0; v < V; ++v) sum += std::exp(logits[t * V + v]);
    for (size_t v = 0; v < V; ++v) {
      const double onehot = static_cast<int32_t>(v) == targets[t] ? 1 : 0;
      dlogits[t * V + v] = scale * (std::exp(logits[t * V + v]) / sum - onehot);
    }
  }
  return dlogits;
}

}  // namespace troupe::tests::reference
