#include "config/schedule/dealing.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace troupe::config {
namespace {

/// Less is not worth a change.
constexpr double least_gain = 0.05;

double slowest(const PacedShares& args, std::span<const int> shares) {
  const std::vector<double> flops = process_flops(args.work, shares);
  double longest = 0;
  for (size_t p = 0; p < flops.size(); ++p) longest = std::max(longest, flops[p] * args.paces[p]);
  return longest;
}

bool is_playable(const Plan& plan, int share) {
  std::vector<int> numbers(static_cast<size_t>(share));
  std::iota(numbers.begin(), numbers.end(), 0);
  return share > 0 && !objection_to({plan.schedule, plan.pipeline, numbers});
}

/// Of the playable shares, the smallest; every `step` more is one again.
struct Portions {
  int least;
  int step;
};

Portions portions_of(const Plan& plan) {
  const bool is_both_ways = plan.schedule == Parallel::DUALPIPE || plan.schedule == Parallel::DUALPIPE_V;
  return {.least = is_both_ways ? 2 * plan.ranks() : 1,
          .step = plan.schedule == Parallel::DUALPIPE ? 2 : 1};
}

/// Gives out micro-batches, and keeps the time that each process needs for its part.
class Dealer {
 public:
  Dealer(const PacedShares& args, int least)
      : args_(args), shares_(static_cast<size_t>(args.plan.data), least),
        times_(process_flops(args.work, shares_)) {
    // Experts work for every micro-batch, whoever has it: all of that is there from the beginning.
    const int later = args.micro_batches - least * args.plan.data;
    for (size_t p = 0; p < times_.size(); ++p) {
      times_[p] = (times_[p] + args.work.experts[p] * later) * args.paces[p];
    }
  }

  void give(int portion) {
    size_t best = 0;
    for (size_t d = 1; d < shares_.size(); ++d) {
      if (key(d, portion) < key(best, portion)) best = d;
    }
    shares_[best] += portion;
    for (const UnitWork::Part& part : args_.work.workers[best]) {
      times_[static_cast<size_t>(part.process)] += time_of(part, portion);
    }
  }

  std::vector<int> shares() const { return shares_; }

 private:
  double time_of(const UnitWork::Part& part, int portion) const {
    return part.flops * portion * args_.paces[static_cast<size_t>(part.process)];
  }
  /// When a worker would be done with so many more.
  std::tuple<double, int> key(size_t worker, int portion) const {
    double done = 0;
    for (const UnitWork::Part& part : args_.work.workers[worker]) {
      done = std::max(done, times_[static_cast<size_t>(part.process)] + time_of(part, portion));
    }
    return {done, shares_[worker]};
  }

  const PacedShares& args_;
  std::vector<int> shares_;
  std::vector<double> times_;  // by process
};

}  // namespace

std::vector<int> equal_shares(int micro_batches, int workers) {
  std::vector<int> shares(static_cast<size_t>(workers), micro_batches / workers);
  for (int d = 0; d < micro_batches % workers; ++d) ++shares[static_cast<size_t>(d)];
  return shares;
}

std::vector<std::vector<int>> deal(std::span<const int> shares) {
  std::vector<std::vector<int>> hands(shares.size());
  const int all = std::accumulate(shares.begin(), shares.end(), 0);
  for (int next = 0; next < all;) {
    for (size_t d = 0; d < shares.size(); ++d) {
      if (std::ssize(hands[d]) < shares[d]) hands[d].push_back(next++);
    }
  }
  return hands;
}

std::vector<int> shares_of(const std::vector<std::vector<int>>& hands) {
  std::vector<int> shares;
  for (const std::vector<int>& hand : hands) shares.push_back(static_cast<int>(hand.size()));
  return shares;
}

std::vector<int> paced_shares(const PacedShares& args) {
  const std::vector<int> equal = equal_shares(args.micro_batches, args.plan.data);
  const auto plays = [&](int share) { return is_playable(args.plan, share); };
  if (!std::ranges::all_of(equal, plays)) return equal;
  const Portions portions = portions_of(args.plan);
  Dealer dealer(args, portions.least);
  const int later = args.micro_batches - portions.least * args.plan.data;
  for (int given = 0; given < later; given += portions.step) dealer.give(portions.step);
  const double gain = 1 - slowest(args, dealer.shares()) / slowest(args, equal);
  return gain < least_gain ? equal : dealer.shares();
}

}  // namespace troupe::config
