#include "deploy/trace/measured_schedule.h"

#include <algorithm>
#include <map>

namespace troupe::deploy {
namespace {

using Kind = config::Operation::Kind;

double milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

/// 0 of nothing.
double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

struct Pair {
  int forward_stage;
  int backward_stage;
  double length;
};

/// What operations and pairs took, over all steps.
struct Samples {
  std::map<std::pair<int, Kind>, std::vector<double>> alone;  // by stage
  std::vector<Pair> pairs;

  void add(const runtime::TracedList& list, const runtime::PlayedTurn& turn) {
    const double length = milliseconds(turn.end_ns - turn.begin_ns);
    const auto operation = [&](int at) { return list.operations[static_cast<size_t>(at)].operation; };
    const config::Operation first = operation(turn.first);
    if (turn.count == 1) return alone[{first.stage, first.kind}].push_back(length);
    const config::Operation second = operation(turn.first + 1);
    const bool is_first = first.kind == Kind::forward;
    pairs.push_back({(is_first ? first : second).stage, (is_first ? second : first).stage, length});
  }

  double of(int stage, Kind kind) const {
    const auto found = alone.find({stage, kind});
    return found == alone.end() ? 0 : median(found->second);
  }

  /// Of the pairs that have the stage's forward, or its backward.
  double pair_of(int stage, int Pair::*which) const {
    std::vector<double> lengths;
    for (const Pair& pair : pairs) {
      if (pair.*which == stage) lengths.push_back(pair.length);
    }
    return median(std::move(lengths));
  }
};

config::StageCosts costs_of(const Samples& samples, int stage) {
  config::StageCosts costs{};
  costs.forward = samples.of(stage, Kind::forward);
  if (costs.forward == 0) costs.forward = samples.pair_of(stage, &Pair::forward_stage) / 3;
  costs.backward_weight = samples.of(stage, Kind::backward_weight);
  costs.backward = samples.of(stage, Kind::backward);
  if (costs.backward == 0 && samples.alone.contains({stage, Kind::backward_input})) {
    costs.backward = samples.of(stage, Kind::backward_input) + costs.backward_weight;
  }
  if (costs.backward == 0) costs.backward = samples.pair_of(stage, &Pair::backward_stage) * 2 / 3;
  costs.backward_weight = std::min(costs.backward_weight, costs.backward);
  return costs;
}

}  // namespace

config::ScheduleCosts measured_costs(const MergedTrace& trace) {
  Samples samples;
  for (const TracedStep& step : trace.steps) {
    for (const TracedRank& rank : step.ranks) {
      for (const runtime::PlayedTurn& turn : runtime::turns_of(rank.list)) samples.add(rank.list, turn);
    }
  }
  config::ScheduleCosts costs{.stages = {}, .beside = 1, .transfer = 0};
  for (int stage = 0; stage < trace.origin.stages; ++stage) costs.stages.push_back(costs_of(samples, stage));
  std::vector<double> shares;
  for (const Pair& pair : samples.pairs) {
    const double both = costs.stages[static_cast<size_t>(pair.forward_stage)].forward +
                        costs.stages[static_cast<size_t>(pair.backward_stage)].backward;
    if (both > 0) shares.push_back(pair.length / both);
  }
  if (!shares.empty()) costs.beside = median(std::move(shares));
  return costs;
}

config::PlayedSchedule measured_schedule(const MergedTrace& trace, const TracedStep& step, int worker) {
  config::PlayedSchedule played{};
  played.makespan = milliseconds(step.length_ns);
  for (int rank = 0; rank < trace.origin.ranks; ++rank) {
    const runtime::TracedList& list = trace.rank(step, worker, rank).list;
    auto& row = played.ranks.emplace_back();
    for (const auto& each : list.operations) {
      row.push_back({each.operation, milliseconds(each.begin_ns), milliseconds(each.end_ns)});
    }
    int64_t busy = 0;
    for (const runtime::PlayedTurn& turn : runtime::turns_of(list)) busy += turn.end_ns - turn.begin_ns;
    played.idle.push_back(milliseconds(step.length_ns - busy));
  }
  return played;
}

}  // namespace troupe::deploy
