#include "deploy/trace/trace_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/schedule/schedule_drawing.h"
#include "deploy/trace/measured_schedule.h"

namespace troupe::deploy {

using runtime::Pause;

namespace {

std::vector<std::vector<config::WaitingTime>> waiting_of(const MergedTrace& trace, const TracedStep& step,
                                                         int worker) {
  std::vector<std::vector<config::WaitingTime>> rows;
  for (int rank = 0; rank < trace.origin.ranks; ++rank) {
    const TracedRank& traced = trace.rank(step, worker, rank);
    auto& row = rows.emplace_back();
    for (const Pause& pause : runtime::pauses_of(traced.list, traced.process)) {
      if (pause.waits_for != Pause::For::other_process) continue;
      row.push_back({static_cast<double>(pause.begin_ns) / 1e6, static_cast<double>(pause.end_ns) / 1e6});
    }
  }
  return rows;
}

}  // namespace

std::string draw_trace(const MergedTrace& trace, const TracedStep& step, int worker) {
  const config::PipelineLists lists = lists_of(trace, step, worker);
  const config::PlayedSchedule measured = measured_schedule(trace, step, worker);
  const config::PlayedSchedule simulated = config::simulate(lists, measured_costs(trace));
  return config::draw_timelines(
      {.title = fmt::format("{}: {} stages, step {}, data worker {}", trace.origin.schedule, trace.origin.stages,
                            step.step, worker),
       .time_unit = "milliseconds",
       .timelines = {{.heading = fmt::format("measured: {:.4g} ms", measured.makespan),
                      .lists = lists,
                      .played = measured,
                      .waiting = waiting_of(trace, step, worker)},
                     {.heading = fmt::format("simulated with the measured medians of operations: {:.4g} ms",
                                             simulated.makespan),
                      .lists = lists,
                      .played = simulated,
                      .waiting = {}}}});
}

std::string merged_events(const std::vector<NamedPart>& parts, const std::vector<RankUse>& uses) {
  const std::vector<int64_t> shifts = clock_shifts(parts);
  int64_t begin = INT64_MAX;
  for (size_t p = 0; p < parts.size(); ++p) {
    for (const auto& list : parts[p].part.lists) begin = std::min(begin, list.begin_ns + shifts[p]);
  }
  auto events = nlohmann::ordered_json::array();
  for (size_t p = 0; p < parts.size(); ++p) {
    for (auto& event : runtime::trace_events(parts[p].part, shifts[p] - begin)) events.push_back(std::move(event));
  }
  auto rows = nlohmann::ordered_json::array();
  for (const RankUse& use : uses) {
    rows.push_back({{"worker", use.worker}, {"rank", use.rank}, {"process", use.process},
                    {"operations", use.operations}, {"step_ms", use.step_ms}, {"busy_ms", use.busy_ms},
                    {"exposed_ms", use.exposed_ms}, {"on_the_way_ms", use.on_the_way_ms},
                    {"other_ms", use.other_ms}, {"simulated_ms", use.simulated_ms},
                    {"simulated_idle_ms", use.simulated_idle_ms}});
  }
  const nlohmann::ordered_json all{{"traceEvents", std::move(events)},
                                   {"displayTimeUnit", "ms"},
                                   {"otherData", {{"format", "troupe trace, merged"}, {"ranks", std::move(rows)}}}};
  return all.dump() + "\n";
}

}  // namespace troupe::deploy
