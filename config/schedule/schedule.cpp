#include "config/schedule/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/schedule/bidirectional.h"
#include "config/text/errors.h"

namespace troupe::config {
namespace {

using Kind = Operation::Kind;
using Lists = std::vector<std::vector<Operation>>;

bool is_bidirectional(Parallel::Schedule kind) {
  return kind == Parallel::DUALPIPE || kind == Parallel::DUALPIPE_V;
}

/// So many forwards ahead, then a forward and a backward in turn, or beside each other.
std::vector<Operation> alternating(const ScheduleArgs& args, int stage, int most_ahead, bool in_pairs) {
  const auto& mine = args.micro_batches;
  const size_t ahead = std::min(mine.size(), static_cast<size_t>(most_ahead));
  std::vector<Operation> list;
  for (size_t i = 0; i < mine.size() + ahead; ++i) {
    const bool has_both = i >= ahead && i < mine.size();
    if (i < mine.size()) list.push_back({Kind::forward, stage, mine[i], in_pairs && has_both});
    if (i >= ahead) list.push_back({Kind::backward, stage, mine[i - ahead]});
  }
  return list;
}

std::vector<Operation> one_f_one_b(const ScheduleArgs& args, int stage) {
  return alternating(args, stage, args.stages - stage - 1, false);
}

/// A pair begins when both of it can and ends as a whole, so a stage is two forwards further ahead than the next
/// one: one further, and each pair would wait for as long as it takes.
std::vector<Operation> combined_one_f_one_b(const ScheduleArgs& args, int stage) {
  return alternating(args, stage, 2 * (args.stages - stage) - 1, true);
}

std::vector<Operation> zero_bubble(const ScheduleArgs& args, int stage) {
  const auto& mine = args.micro_batches;
  const size_t ahead = std::min(mine.size(), static_cast<size_t>(args.stages - stage - 1));
  const auto late = static_cast<size_t>(stage);
  std::vector<Operation> list;
  for (size_t i = 0; i < mine.size() + ahead + late; ++i) {
    if (i < mine.size()) list.push_back({Kind::forward, stage, mine[i]});
    if (i >= ahead && i < mine.size() + ahead) {
      list.push_back({Kind::backward_input, stage, mine[i - ahead]});
    }
    if (i >= ahead + late) {
      list.push_back({Kind::backward_weight, stage, mine[i - ahead - late]});
    }
  }
  return list;
}

Lists dual_pipe(const ScheduleArgs& args) {
  const auto half = static_cast<long>(args.micro_batches.size() / 2);
  const std::vector<int> up(args.micro_batches.begin(), args.micro_batches.begin() + half);
  const std::vector<int> down(args.micro_batches.begin() + half, args.micro_batches.end());
  Lists lists;
  for (int rank = 0; rank < args.stages; ++rank) {
    const bool is_lower = rank < args.stages / 2;
    const int to_end = std::min(rank, args.stages - 1 - rank);
    const Stream upward{rank, up}, downward{args.stages - 1 - rank, down};
    lists.push_back(bidirectional_list({.to_middle = args.stages / 2 - 1 - to_end,
                                        .to_end = to_end,
                                        .own = is_lower ? upward : downward,
                                        .facing = is_lower ? downward : upward}));
  }
  return lists;
}

Lists dual_pipe_v(const ScheduleArgs& args) {
  const std::vector<int> all(args.micro_batches.begin(), args.micro_batches.end());
  const int ranks = args.stages / 2;
  Lists lists;
  for (int rank = 0; rank < ranks; ++rank) {
    lists.push_back(bidirectional_list({.to_middle = ranks - 1 - rank,
                                        .to_end = rank,
                                        .own = {rank, all},
                                        .facing = {args.stages - 1 - rank, all}}));
  }
  return lists;
}

/// On DUALPIPE_V's ranks, for any number of micro-batches.
Lists folded(const ScheduleArgs& args) {
  Lists lists;
  for (int rank = 0; rank < args.stages / 2; ++rank) {
    const int low = rank, high = args.stages - 1 - rank;
    std::vector<Operation>& list = lists.emplace_back();
    const auto add = [&](Kind kind, int stage) {
      for (int m : args.micro_batches) list.push_back({kind, stage, m});
    };
    add(Kind::forward, low);
    add(Kind::forward, high);
    add(Kind::backward, high);
    add(Kind::backward, low);
  }
  return lists;
}

Lists lists_of(const ScheduleArgs& args) {
  if (args.kind == Parallel::DUALPIPE) return dual_pipe(args);
  if (args.kind == Parallel::DUALPIPE_V) return dual_pipe_v(args);
  Lists lists;
  const auto list_of = args.kind == Parallel::ZERO_BUBBLE            ? zero_bubble
                       : args.kind == Parallel::COMBINED_ONE_F_ONE_B ? combined_one_f_one_b
                                                                     : one_f_one_b;
  for (int stage = 0; stage < args.stages; ++stage) lists.push_back(list_of(args, stage));
  return lists;
}

}  // namespace

int ranks_of(Parallel::Schedule kind, int stages) {
  return kind == Parallel::DUALPIPE_V ? stages / 2 : stages;
}

std::vector<int> stages_of_rank(Parallel::Schedule kind, int stages, int rank) {
  if (!is_bidirectional(kind)) return {rank};
  const int other = stages - 1 - rank;
  return {std::min(rank, other), std::max(rank, other)};
}

Objection objection_to(const ScheduleArgs& args) {
  const std::string name = Parallel::Schedule_Name(args.kind);
  if (args.stages < 1) return {fmt::format("{} stages", args.stages), "at least 1"};
  if (!is_bidirectional(args.kind)) return {};
  const auto count = static_cast<int>(args.micro_batches.size());
  if (args.stages % 2 != 0) {
    return {fmt::format("{} with {} stage{}", name, args.stages, args.stages == 1 ? "" : "s"),
            "an even number of stages"};
  }
  const int ranks = ranks_of(args.kind, args.stages);
  const bool is_even = args.kind == Parallel::DUALPIPE_V || count % 2 == 0;
  if (count >= 2 * ranks && is_even) return {};
  return {fmt::format("{} with {} micro-batches of a data worker", name, count),
          fmt::format("{} of at least 2 x {} ranks = {}",
                      args.kind == Parallel::DUALPIPE ? "an even number" : "a number", ranks,
                      2 * ranks)};
}

NearestSchedule nearest_playable(const ScheduleArgs& args) {
  const Objection objection = objection_to(args);
  if (!objection) return {args.kind, ""};
  return {Parallel::ZERO_BUBBLE, objection.found + ", wanted " + objection.wanted};
}

PipelineLists::PipelineLists(Lists of_ranks) : of_ranks_(std::move(of_ranks)) {
  for (size_t rank = 0; rank < of_ranks_.size(); ++rank) {
    for (const Operation& operation : of_ranks_[rank]) {
      if (operation.kind != Kind::forward) continue;
      rank_of_[{operation.stage, operation.micro_batch}] = static_cast<int>(rank);
    }
  }
}

int PipelineLists::rank_of(int stage, int micro_batch) const {
  const auto found = rank_of_.find({stage, micro_batch});
  if (found == rank_of_.end()) {
    throw ConfigError(describe({"", "micro-batch", std::to_string(micro_batch),
                                fmt::format("one that passes stage {}", stage)}));
  }
  return found->second;
}

PipelineLists make_lists(const ScheduleArgs& args) {
  if (const Objection objection = objection_to(args)) {
    throw ConfigError(describe({"", "parallel.schedule", objection.found, objection.wanted}));
  }
  return PipelineLists(lists_of(args));
}

PipelineLists lists_of_step(const ScheduleArgs& args) {
  if (!objection_to(args)) return PipelineLists(lists_of(args));
  if (args.kind == Parallel::DUALPIPE_V && args.stages % 2 == 0) {
    return PipelineLists(folded(args));
  }
  if (args.kind == Parallel::DUALPIPE_V) return make_lists(args);  // no such ranks
  return make_lists({Parallel::ZERO_BUBBLE, args.stages, args.micro_batches});
}

int largest_live(std::span<const Operation> operations) {
  int live = 0;
  int largest = 0;
  for (const Operation& operation : operations) {
    if (operation.kind == Kind::backward_input) continue;
    live += operation.kind == Kind::forward ? 1 : -1;
    largest = std::max(largest, live);
  }
  return largest;
}

}  // namespace troupe::config
