#pragma once

#include <cmath>

namespace troupe::tests::reference {

struct AdamWState {
  double weight, moment1, moment2;
};
struct AdamWRecipe {
  double learning_rate, beta1, beta2, eps, weight_decay;
};

/// Step t (from 1) of one weight, as torch.optim.AdamW computes it (_single_tensor_adamw).
inline AdamWState adamw(AdamWState s, double gradient, const AdamWRecipe& r, int t) {
  s.weight *= 1 - r.learning_rate * r.weight_decay;
  s.moment1 += (1 - r.beta1) * (gradient - s.moment1);
  s.moment2 = r.beta2 * s.moment2 + (1 - r.beta2) * gradient * gradient;
  const double correction1 = 1 - std::pow(r.beta1, t), correction2 = 1 - std::pow(r.beta2, t);
  const double denominator = std::sqrt(s.moment2) / std::sqrt(correction2) + r.eps;
  s.weight -= r.learning_rate / correction1 * s.moment1 / denominator;
  return s;
}

}  // namespace troupe::tests::reference
