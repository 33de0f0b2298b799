#include "runtime/telemetry/trace/trace_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/checkpoint/files.h"
#include "runtime/telemetry/trace/trace_format.h"

namespace troupe::runtime {
namespace {

using nlohmann::ordered_json;

double microseconds(int64_t ns) { return static_cast<double>(ns) / 1000; }

/// "F 3", and what is below its stage if a rank has two.
std::string name_of(const config::Operation& o) {
  using Kind = config::Operation::Kind;
  const char* kind = o.kind == Kind::forward          ? "F"
                     : o.kind == Kind::backward       ? "B"
                     : o.kind == Kind::backward_input ? "B for inputs"
                                                      : "W";
  return std::string(kind) + " " + std::to_string(o.micro_batch) + " stage " + std::to_string(o.stage);
}

/// Rows of a viewer: a rank's list, and beside it what is played at the same time.
int row_of(const TraceOrigin& origin, const TracedList& list, bool is_second) {
  return 2 * (list.worker * origin.ranks + list.rank) + (is_second ? 1 : 0);
}

ordered_json span(const std::string& name, const char* category, int process, int row, int64_t begin_ns,
                  int64_t end_ns) {
  return {{"name", name}, {"cat", category}, {"ph", "X"}, {"pid", process}, {"tid", row},
          {"ts", microseconds(begin_ns)}, {"dur", microseconds(end_ns - begin_ns)}};
}

ordered_json row_name(const TraceOrigin& origin, const TracedList& list, bool is_second) {
  const std::string name = "worker " + std::to_string(list.worker) + " rank " + std::to_string(list.rank) +
                           (is_second ? ", beside it" : "");
  return {{"name", "thread_name"}, {"ph", "M"}, {"pid", origin.process},
          {"tid", row_of(origin, list, is_second)}, {"args", {{"name", name}}}};
}

void add_list(ordered_json& events, const TraceOrigin& origin, const TracedList& list, int64_t shift) {
  const int row = row_of(origin, list, false);
  const auto place = ordered_json{{"step", list.step}, {"worker", list.worker}, {"rank", list.rank}};
  ordered_json whole = span("step " + std::to_string(list.step), "list", origin.process, row,
                            list.begin_ns + shift, list.end_ns + shift);
  whole["args"] = place;
  whole["args"]["operations"] = list.operations.size();
  events.push_back(std::move(whole));
  bool is_second = false;
  for (size_t i = 0; i < list.operations.size(); ++i) {
    const TracedOperation& each = list.operations[i];
    const config::Operation& o = each.operation;
    ordered_json event = span(name_of(o), "operation", origin.process, row_of(origin, list, is_second),
                              each.begin_ns + shift, each.end_ns + shift);
    event["args"] = place;
    event["args"].update({{"index", i}, {"kind", trace_kind(o.kind)}, {"stage", o.stage},
                          {"micro_batch", o.micro_batch}, {"beside_next", o.is_beside_next},
                          {"from_process", each.from_process}, {"ready", microseconds(each.ready_ns + shift)}});
    events.push_back(std::move(event));
    is_second = o.is_beside_next;
  }
  for (const Pause& pause : pauses_of(list, origin.process)) {
    if (pause.waits_for == Pause::For::nothing) continue;
    ordered_json event = span(std::string("waits for ") + to_string(pause.waits_for), "wait", origin.process, row,
                              pause.begin_ns + shift, pause.end_ns + shift);
    const TracedOperation& waited = list.operations[static_cast<size_t>(pause.operation)];
    event["args"] = {{"index", pause.operation}, {"from_process", waited.from_process}};
    events.push_back(std::move(event));
  }
}

}  // namespace

ordered_json trace_events(const TracePart& part, int64_t shift_ns) {
  const TraceOrigin& origin = part.origin;
  auto events = ordered_json::array();
  events.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", origin.process}, {"tid", 0},
                    {"args", {{"name", "process " + std::to_string(origin.process)}}}});
  std::set<std::pair<int, int>> named;
  for (const TracedList& list : part.lists) {
    if (named.insert({list.worker, list.rank}).second) {
      events.push_back(row_name(origin, list, false));
      events.push_back(row_name(origin, list, true));
    }
    add_list(events, origin, list, shift_ns);
  }
  return events;
}

void write_trace_part(const std::filesystem::path& file, const TracePart& part) {
  const TraceOrigin& origin = part.origin;
  // Of a clock that counts from when the machine was started: a double has no nanoseconds behind 51 days of it.
  int64_t base = part.lists.empty() ? 0 : part.lists.front().begin_ns;
  for (const TracedList& list : part.lists) base = std::min(base, list.begin_ns);
  const ordered_json all{{"traceEvents", trace_events(part, -base)},
                         {"displayTimeUnit", "ms"},
                         {"otherData",
                          {{"format", trace_format},
                           {"version", trace_version},
                           {"process", origin.process},
                           {"processes", origin.processes},
                           {"workers", origin.workers},
                           {"ranks", origin.ranks},
                           {"stages", origin.stages},
                           {"schedule", origin.schedule},
                           {"boot", origin.boot},
                           {"base_ns", base},
                           {"unix_minus_steady_ns", origin.unix_minus_steady_ns}}}};
  if (!file.parent_path().empty()) std::filesystem::create_directories(file.parent_path());
  const auto partial = partial_path(file);
  write_file(partial, all.dump());
  publish(partial, file);
}

}  // namespace troupe::runtime
