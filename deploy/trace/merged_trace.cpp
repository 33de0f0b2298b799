#include "deploy/trace/merged_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace troupe::deploy {

using runtime::TraceError;
using runtime::TraceOrigin;

namespace {

/// Of the same run, as far as files say.
void check_alike(const NamedPart& first, const NamedPart& other) {
  const auto layout = [](const TraceOrigin& o) {
    return fmt::format("{} of {} stages in {} ranks, {} data workers, {} processes", o.schedule, o.stages, o.ranks,
                       o.workers, o.processes);
  };
  const std::string found = layout(other.part.origin), wanted = layout(first.part.origin);
  if (found == wanted) return;
  throw TraceError(fmt::format("{}: found {}, wanted {} as {} has it", other.file, found, wanted, first.file));
}

void check_processes(const std::vector<NamedPart>& parts) {
  std::map<int, std::string> files;
  for (const NamedPart& each : parts) {
    check_alike(parts.front(), each);
    const auto [at, is_new] = files.emplace(each.part.origin.process, each.file);
    if (is_new) continue;
    throw TraceError(fmt::format("{}: found process {} again, wanted each once: {} is of it", each.file,
                                 at->first, at->second));
  }
}

using RanksOfStep = std::map<std::pair<int, int>, TracedRank>;  // by worker and rank

std::map<int64_t, RanksOfStep> ranks_by_step(const std::vector<NamedPart>& parts) {
  const std::vector<int64_t> shifts = clock_shifts(parts);
  std::map<int64_t, RanksOfStep> steps;
  for (size_t p = 0; p < parts.size(); ++p) {
    for (runtime::TracedList list : parts[p].part.lists) {
      list.begin_ns += shifts[p];
      list.end_ns += shifts[p];
      for (auto& each : list.operations) {
        each.ready_ns += shifts[p];
        each.begin_ns += shifts[p];
        each.end_ns += shifts[p];
      }
      const auto key = std::pair(list.worker, list.rank);
      const int process = parts[p].part.origin.process;
      const auto [at, is_new] = steps[list.step].emplace(key, TracedRank{std::move(list), process});
      if (is_new) continue;
      throw TraceError(fmt::format("{}: found worker {} rank {} in step {}, wanted it of one process: {} has it",
                                   parts[p].file, key.first, key.second, at->second.list.step, at->second.process));
    }
  }
  return steps;
}

/// With times from its begin on.
TracedStep step_of(int64_t number, RanksOfStep ranks) {
  TracedStep step{number, 0, {}};
  int64_t begin = INT64_MAX, end = INT64_MIN;
  for (const auto& [key, rank] : ranks) {
    begin = std::min(begin, rank.list.begin_ns);
    end = std::max(end, rank.list.end_ns);
  }
  step.length_ns = end - begin;
  for (auto& [key, rank] : ranks) {
    rank.list.begin_ns -= begin;
    rank.list.end_ns -= begin;
    for (auto& each : rank.list.operations) {
      each.ready_ns -= begin;
      each.begin_ns -= begin;
      each.end_ns -= begin;
    }
    step.ranks.push_back(std::move(rank));
  }
  return step;
}

/// "worker 0 rank 1" of the first that is not there.
std::string missing_rank(const TraceOrigin& origin, const RanksOfStep& ranks) {
  for (int worker = 0; worker < origin.workers; ++worker) {
    for (int rank = 0; rank < origin.ranks; ++rank) {
      if (!ranks.contains({worker, rank})) return fmt::format("worker {} rank {}", worker, rank);
    }
  }
  return {};
}

}  // namespace

std::vector<int64_t> clock_shifts(const std::vector<NamedPart>& parts) {
  std::map<std::string, int64_t> shifts;  // by machine
  std::vector<int64_t> out;
  for (const NamedPart& each : parts) {
    const TraceOrigin& origin = each.part.origin;
    const int64_t own = origin.unix_minus_steady_ns - parts.front().part.origin.unix_minus_steady_ns;
    out.push_back(origin.boot.empty() ? own : shifts.emplace(origin.boot, own).first->second);
  }
  return out;
}

MergedTrace merge_parts(const std::vector<NamedPart>& parts) {
  if (parts.empty()) throw TraceError("found no part of a trace, wanted at least one");
  check_processes(parts);
  MergedTrace trace;
  trace.origin = parts.front().part.origin;
  for (const NamedPart& each : parts) {
    const std::string& boot = each.part.origin.boot;
    trace.has_one_clock = trace.has_one_clock && !boot.empty() && boot == trace.origin.boot;
  }
  trace.has_one_clock = trace.has_one_clock || parts.size() == 1;
  if (!trace.has_one_clock) {
    trace.notes.push_back("processes of several machines: their clocks are compared by the time of day");
  }
  std::string missing = "any step";
  for (auto& [number, ranks] : ranks_by_step(parts)) {
    const std::string absent = missing_rank(trace.origin, ranks);
    if (absent.empty()) {
      trace.steps.push_back(step_of(number, std::move(ranks)));
      continue;
    }
    missing = fmt::format("{} of step {}", absent, number);
    trace.notes.push_back(fmt::format("step {} is left out: found no list of {}", number, absent));
  }
  if (!trace.steps.empty()) return trace;
  throw TraceError(fmt::format("found {} of {} processes ({}) and not {}, wanted a step with the lists of all ranks",
                               parts.size(), trace.origin.processes, parts.front().file, missing));
}

config::PipelineLists lists_of(const MergedTrace& trace, const TracedStep& step, int worker) {
  std::vector<std::vector<config::Operation>> lists;
  for (int rank = 0; rank < trace.origin.ranks; ++rank) {
    auto& list = lists.emplace_back();
    for (const auto& each : trace.rank(step, worker, rank).list.operations) list.push_back(each.operation);
  }
  return config::PipelineLists(std::move(lists));
}

}  // namespace troupe::deploy
