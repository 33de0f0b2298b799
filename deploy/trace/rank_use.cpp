#include "deploy/trace/rank_use.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "deploy/trace/measured_schedule.h"

namespace troupe::deploy {
namespace {

using Kind = config::Operation::Kind;
using runtime::Pause;
using runtime::TracedOperation;

double milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

/// When what is sent to another stage had been made: by the stage and micro-batch that make it, and the way it goes.
class SendTimes {
 public:
  SendTimes(const MergedTrace& trace, const TracedStep& step, int worker) {
    for (int rank = 0; rank < trace.origin.ranks; ++rank) {
      for (const TracedOperation& each : trace.rank(step, worker, rank).list.operations) {
        const config::Operation& o = each.operation;
        if (o.kind != Kind::backward_weight) ends_[{o.stage, o.micro_batch, o.kind == Kind::forward}] = each.end_ns;
      }
    }
  }
  /// Of what an operation needs; later than all times if nobody has sent it.
  int64_t of(const config::Operation& o) const {
    const bool is_forward = o.kind == Kind::forward;
    const auto found = ends_.find({is_forward ? o.stage - 1 : o.stage + 1, o.micro_batch, is_forward});
    return found == ends_.end() ? INT64_MAX : found->second;
  }

 private:
  std::map<std::tuple<int, int, bool>, int64_t> ends_;
};

void add_step(RankUse& use, const TracedStep& step, const TracedRank& rank, const SendTimes& sent) {
  int64_t exposed = 0, on_the_way = 0, busy = 0;
  for (const Pause& pause : runtime::pauses_of(rank.list, rank.process)) {
    if (pause.waits_for != Pause::For::other_process) continue;
    exposed += pause.end_ns - pause.begin_ns;
    const int64_t begin = sent.of(rank.list.operations[static_cast<size_t>(pause.operation)].operation);
    if (begin < pause.end_ns) on_the_way += pause.end_ns - std::max(begin, pause.begin_ns);
  }
  for (const runtime::PlayedTurn& turn : runtime::turns_of(rank.list)) busy += turn.end_ns - turn.begin_ns;
  use.process = rank.process;
  use.operations += static_cast<double>(rank.list.operations.size());
  use.step_ms += milliseconds(step.length_ns);
  use.busy_ms += milliseconds(busy);
  use.exposed_ms += milliseconds(exposed);
  use.on_the_way_ms += milliseconds(on_the_way);
  use.other_ms += milliseconds(step.length_ns - busy - exposed);
}

constexpr double RankUse::*measures[] = {
    &RankUse::operations,    &RankUse::step_ms,  &RankUse::busy_ms,      &RankUse::exposed_ms,
    &RankUse::on_the_way_ms, &RankUse::other_ms, &RankUse::simulated_ms, &RankUse::simulated_idle_ms};

/// "812.40  90.1 %"
std::string time_and_share(double ms, double all) {
  return fmt::format("{:>10.2f} {:>5.1f} %", ms, all > 0 ? 100 * ms / all : 0);
}

std::string row(const std::string& name, const RankUse& use) {
  return fmt::format("{:<24} {:>6.0f} {:>10.2f}{}{}{}{}{}\n", name, use.operations, use.step_ms,
                     time_and_share(use.busy_ms, use.step_ms), time_and_share(use.exposed_ms, use.step_ms),
                     time_and_share(use.on_the_way_ms, use.step_ms), time_and_share(use.other_ms, use.step_ms),
                     time_and_share(use.simulated_idle_ms, use.simulated_ms));
}

/// Lists come from files, which may say anything.
config::PlayedSchedule simulated_of(const MergedTrace& trace, const TracedStep& step, int worker,
                                    const config::ScheduleCosts& costs) {
  try {
    return config::simulate(lists_of(trace, step, worker), costs);
  } catch (const std::exception& error) {
    throw runtime::TraceError("step " + std::to_string(step.step) + " of worker " + std::to_string(worker) +
                              " in the files: " + error.what());
  }
}

}  // namespace

std::vector<RankUse> use_of_ranks(const MergedTrace& trace) {
  const config::ScheduleCosts costs = measured_costs(trace);
  std::vector<RankUse> uses;
  for (int worker = 0; worker < trace.origin.workers; ++worker) {
    const size_t first = uses.size();
    for (int rank = 0; rank < trace.origin.ranks; ++rank) {
      uses.push_back({});
      uses.back().worker = worker;
      uses.back().rank = rank;
    }
    for (const TracedStep& step : trace.steps) {
      const SendTimes sent(trace, step, worker);
      const config::PlayedSchedule simulated = simulated_of(trace, step, worker, costs);
      for (int rank = 0; rank < trace.origin.ranks; ++rank) {
        RankUse& use = uses[first + static_cast<size_t>(rank)];
        add_step(use, step, trace.rank(step, worker, rank), sent);
        use.simulated_ms += simulated.makespan;
        use.simulated_idle_ms += simulated.idle[static_cast<size_t>(rank)];
      }
    }
  }
  for (RankUse& use : uses) {
    for (const auto measure : measures) use.*measure /= static_cast<double>(trace.steps.size());
  }
  return uses;
}

std::string use_table(const MergedTrace& trace, const std::vector<RankUse>& uses) {
  const auto& origin = trace.origin;
  std::string text = fmt::format("{} steps, {} to {}: {}, {} stages, {} data workers, {} processes; ms a step\n",
                                 trace.steps.size(), trace.steps.front().step, trace.steps.back().step,
                                 origin.schedule, origin.stages, origin.workers, origin.processes);
  text += fmt::format("{:<24} {:>6} {:>10}{:>18}{:>18}{:>18}{:>18}{:>18}\n", "worker.rank", "ops", "step", "busy",
                      "exposed", "on the way", "other idle", "simulated idle");
  RankUse all{};
  for (const RankUse& use : uses) {
    text += row(fmt::format("{}.{} in process {}", use.worker, use.rank, use.process), use);
    for (const auto measure : measures) all.*measure += use.*measure / static_cast<double>(uses.size());
  }
  text += row("mean of all", all);
  text += fmt::format("a step takes {:.2f} ms, {:.2f} ms simulated with the measured medians and free messages\n",
                      all.step_ms, all.simulated_ms);
  return text;
}

}  // namespace troupe::deploy
