// Traces as processes would have written them: of schedules that the simulator has played.
#pragma once

#include <cmath>
#include <numeric>

#include "config/schedule/simulator.h"
#include "deploy/trace/merged_trace.h"

namespace troupe::tests {

struct MadeTrace {
  config::Parallel::Schedule schedule = config::Parallel::ONE_F_ONE_B;
  int stages = 2;
  int micro_batches = 4;
  int processes = 2;              ///< ranks are dealt to them in turn
  std::vector<int64_t> steps{2};  ///< each takes as long as the first
  config::ScheduleCosts costs{};  ///< in milliseconds; no stages: unit costs
};

inline config::PipelineLists lists_of(const MadeTrace& made) {
  std::vector<int> numbers(static_cast<size_t>(made.micro_batches));
  std::iota(numbers.begin(), numbers.end(), 0);
  return config::make_lists({made.schedule, made.stages, numbers});
}

inline config::PlayedSchedule played(const MadeTrace& made) {
  return config::simulate(lists_of(made), made.costs.stages.empty() ? config::unit_costs(made.stages) : made.costs);
}

inline int64_t nanoseconds(double ms) { return std::llround(ms * 1e6); }

/// When a message of another rank is there: behind its way.
inline int64_t ready_of(const MadeTrace& made, const config::PlayedSchedule& schedule, const config::Operation& o) {
  const bool is_forward = o.kind == config::Operation::Kind::forward;
  for (const auto& rank : schedule.ranks) {
    for (const auto& each : rank) {
      const bool is_sender = each.operation.stage == (is_forward ? o.stage - 1 : o.stage + 1) &&
                             each.operation.micro_batch == o.micro_batch &&
                             each.operation.kind != config::Operation::Kind::backward_weight &&
                             (each.operation.kind == config::Operation::Kind::forward) == is_forward;
      if (is_sender) return nanoseconds(each.end + made.costs.transfer);
    }
  }
  return 0;
}

/// The parts of all processes; step i begins at i seconds of the clock.
inline std::vector<deploy::NamedPart> make_parts(const MadeTrace& made) {
  const config::PipelineLists lists = lists_of(made);
  const config::PlayedSchedule schedule = played(made);
  std::vector<deploy::NamedPart> parts;
  for (int p = 0; p < made.processes; ++p) {
    runtime::TraceOrigin origin;
    origin.process = p;
    origin.processes = made.processes;
    origin.ranks = lists.ranks();
    origin.stages = made.stages;
    origin.schedule = config::Parallel::Schedule_Name(made.schedule);
    origin.boot = "one";
    parts.push_back({"process-" + std::to_string(p) + ".json", {origin, {}}});
  }
  for (const int64_t step : made.steps) {
    const int64_t begin = step * 1'000'000'000;
    for (int rank = 0; rank < lists.ranks(); ++rank) {
      runtime::TracedList list;
      list.step = step;
      list.rank = rank;
      list.begin_ns = begin;
      list.end_ns = begin + nanoseconds(schedule.makespan);
      for (const auto& each : schedule.ranks[static_cast<size_t>(rank)]) {
        const config::Operation& o = each.operation;
        runtime::TracedOperation& traced = list.operations.emplace_back();
        traced.operation = o;
        const bool is_forward = o.kind == config::Operation::Kind::forward;
        const bool needs_none = o.kind == config::Operation::Kind::backward_weight ||
                                o.stage == (is_forward ? 0 : made.stages - 1);
        if (!needs_none) {
          traced.from_process = lists.rank_of(is_forward ? o.stage - 1 : o.stage + 1, o.micro_batch) % made.processes;
        }
        traced.ready_ns = begin + (needs_none ? 0 : ready_of(made, schedule, o));
        traced.begin_ns = begin + nanoseconds(each.begin);
        traced.end_ns = begin + nanoseconds(each.end);
      }
      parts[static_cast<size_t>(rank % made.processes)].part.lists.push_back(std::move(list));
    }
  }
  return parts;
}

}  // namespace troupe::tests
