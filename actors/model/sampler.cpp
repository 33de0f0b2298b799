#include "actors/model/sampler.h"

#include <algorithm>
#include <vector>

#include "kernels/random.h"
#include "kernels/scalar_math.h"

namespace troupe::actors {
namespace {

struct Candidate {
  int32_t id;
  double weight;  // of the distribution, not normalised
};

int32_t greatest(std::span<const float> logits) {
  int32_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != logits[i]) continue;
    if (best < 0 || logits[i] > logits[static_cast<size_t>(best)]) best = static_cast<int32_t>(i);
  }
  return std::max(best, 0);
}

}  // namespace

int32_t sample(const SampleArgs& args) {
  const int32_t best = greatest(args.logits);
  if (args.temperature <= 0.0 || args.logits.empty()) return best;
  const double top = args.logits[static_cast<size_t>(best)];
  std::vector<Candidate> candidates;
  double total = 0;
  for (size_t i = 0; i < args.logits.size(); ++i) {
    if (args.logits[i] != args.logits[i]) continue;
    const double w = kernels::exp_exact((args.logits[i] - top) / args.temperature);
    candidates.push_back({static_cast<int32_t>(i), w});
    total += w;
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  });
  if (args.top_p < 1.0) {
    double kept = 0;
    size_t n = 0;
    while (n < candidates.size() && (n == 0 || kept < args.top_p * total)) {
      kept += candidates[n++].weight;
    }
    candidates.resize(n);
    total = kept;
  }
  double left = total * kernels::random_uniform({args.seed, kernels::Purpose::sampling,
                                                 args.sequence, args.position});
  for (const Candidate& c : candidates) {
    left -= c.weight;
    if (left < 0) return c.id;
  }
  return candidates.empty() ? best : candidates.back().id;
}

}  // namespace troupe::actors
