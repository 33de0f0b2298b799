#include "runtime/data/mixture.h"

#include <cmath>
#include <numeric>
#include <string>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using Wide = unsigned __int128;  // shares times sequences

constexpr std::uint64_t block_sequences = 4096;

}  // namespace

Mixture::Mixture(std::span<const double> weights) {
  if (weights.empty()) throw DataError("a mixture of no sources; one or more are wanted");
  std::uint64_t divisor = 0;
  for (const double weight : weights) {
    if (!(weight >= least_weight && weight <= most_weight)) {
      throw DataError("the weight of source " + std::to_string(shares_.size()) + " is " +
                      std::to_string(weight) + "; 0.001 to 1000 is wanted");
    }
    shares_.push_back(static_cast<std::uint64_t>(std::llround(weight * 1e6)));
    divisor = std::gcd(divisor, shares_.back());
  }
  for (std::uint64_t& share : shares_) period_ += share /= divisor;
  blocks_.emplace_back(shares_.size(), 0);
}

std::uint32_t Mixture::source_of(std::uint64_t n, const Counts& counts) const {
  std::uint32_t best = 0;
  Wide soonest = ~Wide{0};
  for (std::uint32_t s = 0; s < shares_.size(); ++s) {
    if (Wide{shares_[s]} * (n + 1) <= Wide{period_} * counts[s]) continue;  // not yet
    const Wide deadline = (Wide{period_} * (counts[s] + 1) + shares_[s] - 1) / shares_[s];
    if (deadline >= soonest) continue;
    soonest = deadline;
    best = s;
  }
  return best;
}

Mixture::Counts Mixture::counts_before(std::uint64_t n) {
  const std::uint64_t block = n / block_sequences;
  while (blocks_.size() <= block) {
    Counts counts = blocks_.back();
    const std::uint64_t begin = (blocks_.size() - 1) * block_sequences;
    for (std::uint64_t i = begin; i < begin + block_sequences; ++i) ++counts[source_of(i, counts)];
    blocks_.push_back(std::move(counts));
  }
  Counts counts = blocks_[block];
  for (std::uint64_t i = block * block_sequences; i < n; ++i) ++counts[source_of(i, counts)];
  return counts;
}

std::vector<Mixture::Draw> Mixture::draws(std::uint64_t first, std::uint64_t count) {
  std::vector<Draw> draws;
  draws.reserve(count);
  if (shares_.size() == 1) {
    for (std::uint64_t i = 0; i < count; ++i) draws.push_back({0, first + i});
    return draws;
  }
  const std::lock_guard lock(mutex_);
  std::uint64_t round = first / period_, n = first % period_;
  Counts counts = counts_before(n);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint32_t source = source_of(n, counts);
    draws.push_back({source, round * shares_[source] + counts[source]});
    ++counts[source];
    if (++n < period_) continue;
    n = 0;
    ++round;
    counts.assign(counts.size(), 0);
  }
  return draws;
}

}  // namespace troupe::runtime
