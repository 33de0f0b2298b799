#include "actors/inference/sampler.h"

#include <algorithm>
#include <vector>

#include "kernels/math/scalar_math.h"
#include "kernels/random.h"

namespace troupe::actors {
namespace {

struct Candidate {
  int32_t id;
  double weight;  // of the distribution, not normalised
};

/// The lower id of the greatest; -1 if there is no number.
int32_t greatest(std::span<const float> logits) {
  int32_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != logits[i]) continue;
    if (best < 0 || logits[i] > logits[static_cast<size_t>(best)]) best = static_cast<int32_t>(i);
  }
  return best;
}

/// Tokens with any weight, the heaviest first. Infinite logits are not subtracted: what equals the
/// greatest one has its weight, whatever else is there has none beside +infinity.
std::vector<Candidate> candidates_of(const SampleArgs& args, float top) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < args.logits.size(); ++i) {
    const float logit = args.logits[i];
    if (logit != logit) continue;
    const double below = static_cast<double>(logit) - static_cast<double>(top);
    const double weight = logit == top ? 1.0 : kernels::exp_exact(below / args.temperature);
    if (weight > 0) candidates.push_back({static_cast<int32_t>(i), weight});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  });
  return candidates;
}

double total_of(std::span<const Candidate> candidates) {
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  return total;
}

}  // namespace

int32_t sample(const SampleArgs& args) {
  const int32_t best = greatest(args.logits);
  if (best < 0) return 0;
  if (args.temperature <= 0.0) return best;
  std::vector<Candidate> candidates =
      candidates_of(args, args.logits[static_cast<size_t>(best)]);
  if (args.top_p < 1.0) {
    const double wanted = args.top_p * total_of(candidates);
    double kept = 0;
    size_t n = 0;
    while (n < candidates.size() && (n == 0 || kept < wanted)) kept += candidates[n++].weight;
    candidates.resize(n);
  }
  const double drawn = total_of(candidates) *
                       kernels::random_uniform({args.seed, kernels::Purpose::sampling,
                                                args.sequence, args.position});
  double passed = 0;
  for (const Candidate& c : candidates) {
    passed += c.weight;
    if (drawn < passed) return c.id;
  }
  return candidates.back().id;
}

}  // namespace troupe::actors
