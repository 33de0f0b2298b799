#include "config/schedule/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "config/text/errors.h"

namespace troupe::config {
namespace {

using Kind = Operation::Kind;

class Player {
 public:
  Player(const PipelineLists& lists, const ScheduleCosts& costs)
      : lists_(lists),
        costs_(costs),
        next_(static_cast<size_t>(lists.ranks()), 0),
        free_(static_cast<size_t>(lists.ranks()), 0) {
    played_.ranks.resize(static_cast<size_t>(lists.ranks()));
    played_.idle.resize(static_cast<size_t>(lists.ranks()), 0);
  }

  PlayedSchedule play() {
    for (bool moves = true; moves;) {
      moves = false;
      for (int rank = 0; rank < lists_.ranks(); ++rank) {
        while (plays_next(rank)) moves = true;
      }
    }
    for (int rank = 0; rank < lists_.ranks(); ++rank) check_end(rank);
    played_.makespan = free_.empty() ? 0 : *std::ranges::max_element(free_);
    for (size_t rank = 0; rank < free_.size(); ++rank) {
      played_.idle[rank] += played_.makespan - free_[rank];
    }
    return std::move(played_);
  }

 private:
  /// When both parts of a micro-batch's way through a stage have ended.
  struct Ends {
    std::optional<double> forward, backward;
  };

  bool plays_next(int rank) {
    const auto& list = lists_.of(rank);
    const auto r = static_cast<size_t>(rank);
    if (next_[r] == list.size()) return false;
    const Operation& first = list[next_[r]];
    const size_t count = first.is_beside_next ? 2 : 1;
    double begin = free_[r];
    double cost = 0;
    for (size_t i = next_[r]; i < next_[r] + count; ++i) {
      const auto ready = ready_at(list[i], rank);
      if (!ready) return false;
      begin = std::max(begin, *ready);
      cost += cost_of(list[i]);
    }
    if (count == 2) cost *= costs_.beside;
    for (size_t i = next_[r]; i < next_[r] + count; ++i) ended(list[i], rank, begin, begin + cost);
    played_.idle[r] += begin - free_[r];
    free_[r] = begin + cost;
    next_[r] += count;
    return true;
  }

  /// When what an operation needs is at its rank; none: nobody knows yet.
  std::optional<double> ready_at(const Operation& o, int rank) {
    const Ends& own = ends_[{o.stage, o.micro_batch}];
    switch (o.kind) {
      case Kind::forward:
        if (o.stage == 0) return 0.0;
        return arrival(ends_[{o.stage - 1, o.micro_batch}].forward, o.stage - 1, o, rank);
      case Kind::backward_weight:
        return own.backward;
      case Kind::backward:
      case Kind::backward_input:
        break;
    }
    if (o.stage + 1 == static_cast<int>(costs_.stages.size()) || !own.forward) return own.forward;
    return arrival(ends_[{o.stage + 1, o.micro_batch}].backward, o.stage + 1, o, rank);
  }

  std::optional<double> arrival(const std::optional<double>& end, int from_stage,
                                const Operation& o, int rank) const {
    if (!end) return end;
    const bool travels = lists_.rank_of(from_stage, o.micro_batch) != rank;
    return *end + (travels ? costs_.transfer : 0);
  }

  double cost_of(const Operation& o) const {
    const StageCosts& stage = costs_.stages[static_cast<size_t>(o.stage)];
    switch (o.kind) {
      case Kind::forward:
        return stage.forward;
      case Kind::backward:
        return stage.backward;
      case Kind::backward_input:
        return stage.backward - stage.backward_weight;
      case Kind::backward_weight:
        return stage.backward_weight;
    }
    return 0;
  }

  void ended(const Operation& o, int rank, double begin, double end) {
    Ends& ends = ends_[{o.stage, o.micro_batch}];
    if (o.kind == Kind::forward) ends.forward = end;
    if (o.kind == Kind::backward || o.kind == Kind::backward_input) ends.backward = end;
    played_.ranks[static_cast<size_t>(rank)].push_back({o, begin, end});
  }

  void check_end(int rank) const {
    const size_t next = next_[static_cast<size_t>(rank)];
    if (next == lists_.of(rank).size()) return;
    throw ConfigError(describe({"", fmt::format("operation {} of rank {}", next, rank),
                                "lists that wait for each other", "one that can begin"}));
  }

  const PipelineLists& lists_;
  const ScheduleCosts& costs_;
  std::map<std::pair<int, int>, Ends> ends_;  // by stage and micro-batch
  std::vector<size_t> next_;                  // of each rank's list
  std::vector<double> free_;                  // since when each rank is
  PlayedSchedule played_{};
};

}  // namespace

ScheduleCosts unit_costs(int stages) {
  return {.stages = std::vector<StageCosts>(static_cast<size_t>(stages),
                                            {.forward = 1, .backward = 2, .backward_weight = 1}),
          .beside = 1,
          .transfer = 0};
}

double PlayedSchedule::largest_idle() const {
  return idle.empty() ? 0 : *std::ranges::max_element(idle);
}

PlayedSchedule simulate(const PipelineLists& lists, const ScheduleCosts& costs) {
  return Player(lists, costs).play();
}

}  // namespace troupe::config
