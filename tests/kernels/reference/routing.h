#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tests/kernels/reference/swiglu.h"

namespace troupe::tests::reference {

struct Routing {
  size_t experts, groups, top_groups, per_token;
  bool normalize;
  double scale;
};

/// Indices of the n largest values, ascending; the lower index where values are equal.
inline std::vector<int32_t> largest(const Doubles& values, size_t n) {
  std::vector<int32_t> order(values.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  order.resize(n);
  std::sort(order.begin(), order.end());
  return order;
}

/// The experts of one token, as transformers' DeepseekV3TopkRouter chooses them, with experts
/// outside the kept groups excluded (there they count as 0).
inline std::vector<int32_t> choose_experts(const Doubles& scores, const Doubles& bias,
                                           const Routing& r) {
  const size_t size = r.experts / r.groups;
  Doubles biased(r.experts), group_scores(r.groups);
  for (size_t e = 0; e < r.experts; ++e) biased[e] = scores[e] + bias[e];
  for (size_t g = 0; g < r.groups; ++g) {
    Doubles group(biased.begin() + static_cast<long>(g * size),
                  biased.begin() + static_cast<long>((g + 1) * size));
    std::sort(group.rbegin(), group.rend());
    group_scores[g] = size == 1 ? group[0] : group[0] + group[1];
  }
  const std::vector<int32_t> kept = largest(group_scores, r.top_groups);
  for (size_t e = 0; e < r.experts; ++e) {
    if (!std::count(kept.begin(), kept.end(), static_cast<int32_t>(e / size)))
      biased[e] = -INFINITY;
  }
  return largest(biased, r.per_token);
}

/// Weights of the chosen experts of one token.
inline Doubles expert_weights(const Doubles& scores, const std::vector<int32_t>& ids,
                              const Routing& r) {
  Doubles weights;
  double sum = 0;
  for (const int32_t id : ids) sum += scores[static_cast<size_t>(id)];
  for (const int32_t id : ids) {
    const double score = scores[static_cast<size_t>(id)];
    weights.push_back(r.scale * (r.normalize ? score / (sum + 1e-20) : score));
  }
  return weights;
}

/// scale * sum_i f_i P_i of one sequence; counts[i] is how often expert i was chosen, K a row.
inline double balance_loss(const Doubles& scores, const std::vector<int64_t>& counts, size_t K,
                           double scale) {
  const size_t E = counts.size(), S = scores.size() / E;
  double loss = 0;
  for (size_t t = 0; t < S; ++t) {
    double sum = 0;
    for (size_t e = 0; e < E; ++e) sum += scores[t * E + e];
    for (size_t e = 0; e < E; ++e) {
      const double f =
          static_cast<double>(E * static_cast<size_t>(counts[e])) / static_cast<double>(K * S);
      loss += scale * f * scores[t * E + e] / sum / static_cast<double>(S);
    }
  }
  return loss;
}

}  // namespace troupe::tests::reference
