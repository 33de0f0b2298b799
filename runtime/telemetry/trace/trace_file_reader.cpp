// Reads what others may have cut, changed or written: nothing of it is taken on trust.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/files.h"
#include "runtime/checkpoint/json_fields.h"
#include "runtime/telemetry/trace/trace_file.h"
#include "runtime/telemetry/trace/trace_format.h"

namespace troupe::runtime {
namespace {

using nlohmann::json;

constexpr uint64_t most_bytes = uint64_t{1} << 30;
constexpr int32_t most_of_a_kind = 1 << 20;  // ranks, workers, stages, processes
constexpr double most_us = 1e13;             // 115 days of a run
constexpr int64_t most_ns = int64_t{1} << 61;

using Key = std::tuple<int64_t, int, int>;  // step, worker, rank

int below(const JsonFields& fields, const char* field, int limit) {
  const int32_t value = fields.integer(field);
  if (value >= limit) fields.refuse(field, std::to_string(value), "less than " + std::to_string(limit));
  return value;
}

int at_least_one(const JsonFields& fields, const char* field) {
  const int32_t value = fields.integer(field);
  if (value < 1 || value > most_of_a_kind) {
    fields.refuse(field, std::to_string(value), "1 to " + std::to_string(most_of_a_kind));
  }
  return value;
}

int64_t nanoseconds(const JsonFields& fields, const char* field) {
  const double us = fields.number(field);
  if (!(us >= 0 && us <= most_us)) fields.refuse(field, std::to_string(us), "microseconds of a run");
  return std::llround(us * 1000);
}

/// From `least` to most_ns.
int64_t whole_nanoseconds(const JsonFields& fields, const char* field, int64_t least, const char* wanted) {
  const json& value = fields.has(field) ? fields.at(field) : json();
  const bool is_whole = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(most_ns)
                                                   : value.is_number_integer();
  if (!is_whole || value.get<int64_t>() < least || value.get<int64_t>() > most_ns) {
    fields.refuse(field, value.dump(), wanted);
  }
  return value.get<int64_t>();
}

TraceOrigin origin_of(const JsonFields& fields) {
  if (fields.text("format", "") != trace_format) {
    fields.refuse("format", fields.has("format") ? fields.at("format").dump() : "nothing",
                  std::string("\"") + trace_format + "\"");
  }
  if (const int32_t version = fields.integer("version"); version != trace_version) {
    fields.refuse("version", std::to_string(version), std::to_string(trace_version));
  }
  TraceOrigin origin;
  origin.processes = at_least_one(fields, "processes");
  origin.process = below(fields, "process", origin.processes);
  origin.workers = at_least_one(fields, "workers");
  origin.ranks = at_least_one(fields, "ranks");
  origin.stages = at_least_one(fields, "stages");
  origin.schedule = fields.text("schedule", "");
  config::Parallel::Schedule kind;
  if (!config::Parallel::Schedule_Parse(origin.schedule, &kind)) {
    fields.refuse("schedule", "\"" + origin.schedule + "\"", "a schedule of config/README.md");
  }
  origin.boot = fields.text("boot", "");
  origin.unix_minus_steady_ns =
      whole_nanoseconds(fields, "unix_minus_steady_ns", -most_ns, "a whole number of nanoseconds since 1970");
  return origin;
}

class Reader {
 public:
  Reader(const json& all, const std::string& file) : file_(file) {
    const JsonFields fields(all, file + ": ");
    const JsonFields other = fields.section("otherData");
    part_.origin = origin_of(other);
    base_ns_ = whole_nanoseconds(other, "base_ns", 0, "the nanoseconds of a steady clock that times count from");
    if (!fields.has("traceEvents") || !fields.at("traceEvents").is_array()) {
      fields.refuse("traceEvents", fields.has("traceEvents") ? "no array" : "nothing", "the events");
    }
    const json& events = fields.at("traceEvents");
    for (const char* category : {"list", "operation"}) {
      for (size_t i = 0; i < events.size(); ++i) read(events[i], i, category);
    }
  }

  TracePart take() {
    for (auto& [key, read] : lists_) {
      TracedList& list = read.list;
      const std::string name = file_ + ": step " + std::to_string(list.step) + " of worker " +
                               std::to_string(list.worker) + " rank " + std::to_string(list.rank) + ": ";
      if (read.operations.size() != read.wanted) {
        throw TraceError(name + "found " + std::to_string(read.operations.size()) + " operations, wanted " +
                         std::to_string(read.wanted));
      }
      for (auto& [index, operation] : read.operations) list.operations.push_back(operation);
      if (const config::Objection wrong = objection_to(list)) {
        throw TraceError(name + "found " + wrong.found + ", wanted " + wrong.wanted);
      }
      part_.lists.push_back(std::move(list));
    }
    return std::move(part_);
  }

 private:
  struct Read {
    TracedList list;
    size_t wanted;                               // operations
    std::map<int, TracedOperation> operations{};  // by index
  };

  void read(const json& event, size_t index, const std::string& category) {
    const std::string place = file_ + ": traceEvents[" + std::to_string(index) + "]";
    if (!event.is_object()) throw TraceError(place + ": found " + event.type_name() + ", wanted an object");
    const JsonFields fields(event, place + ".");
    if (fields.text("cat", "") != category) return;
    const JsonFields args = fields.section("args");
    const Key key{args.integer("step"), below(args, "worker", part_.origin.workers),
                  below(args, "rank", part_.origin.ranks)};
    const int64_t begin = base_ns_ + nanoseconds(fields, "ts");
    const int64_t end = begin + nanoseconds(fields, "dur");
    category == "list" ? read_list(args, key, begin, end) : read_operation(args, key, begin, end);
  }

  void read_list(const JsonFields& args, const Key& key, int64_t begin, int64_t end) {
    const TracedList list{std::get<0>(key), std::get<1>(key), std::get<2>(key), begin, end, {}};
    const auto wanted = static_cast<size_t>(args.integer("operations"));
    const bool is_new = lists_.emplace(key, Read{list, wanted}).second;
    if (!is_new) args.refuse("step", "a list twice", "each once");
  }

  void read_operation(const JsonFields& args, const Key& key, int64_t begin, int64_t end) {
    const auto found = lists_.find(key);
    if (found == lists_.end()) args.refuse("step", "an operation of no list", "an event of its list");
    Read& read = found->second;
    const int index = below(args, "index", static_cast<int>(read.wanted));
    const auto [place, is_new] = read.operations.emplace(index, TracedOperation{});
    if (!is_new) args.refuse("index", std::to_string(index) + " twice", "each once");
    const std::string name = args.text("kind", "");
    const auto kind = trace_kind_of(name);
    if (!kind) args.refuse("kind", "\"" + name + "\"", "an operation's kind");
    TracedOperation& each = place->second;
    each.operation = {*kind, below(args, "stage", part_.origin.stages), args.integer("micro_batch"),
                      args.boolean("beside_next", false)};
    each.from_process = from_process(args);
    each.ready_ns = base_ns_ + nanoseconds(args, "ready");
    each.begin_ns = begin;
    each.end_ns = end;
  }

  int from_process(const JsonFields& args) const {
    if (!args.has("from_process")) args.refuse("from_process", "nothing", "a process, or -1");
    const json& value = args.at("from_process");
    const bool is_one = value.is_number_integer() && value.get<int64_t>() >= -1 &&
                        value.get<int64_t>() < part_.origin.processes;
    if (!is_one) args.refuse("from_process", value.dump(), "a process of the run, or -1");
    return value.get<int>();
  }

  const std::string& file_;
  TracePart part_;
  int64_t base_ns_ = 0;
  std::map<Key, Read> lists_;
};

}  // namespace

TracePart parse_trace_part(const std::string& text, const std::string& file) {
  if (text.empty()) throw TraceError(file + ": found an empty file, wanted one of a trace");
  const json all = json::parse(text, nullptr, false);
  if (all.is_discarded()) {
    throw TraceError(file + ": found what is no JSON, or was cut short, wanted a file of a trace");
  }
  if (!all.is_object()) {
    throw TraceError(file + ": found JSON that is an " + all.type_name() + ", wanted the object of a trace");
  }
  try {
    return Reader(all, file).take();
  } catch (const CheckpointError& error) {  // of the fields
    throw TraceError(error.what());
  }
}

TracePart read_trace_part(const std::filesystem::path& file) {
  std::string text;
  try {
    text = read_file(file, most_bytes);
  } catch (const CheckpointError& error) {
    throw TraceError(error.what());
  }
  return parse_trace_part(text, file.string());
}

}  // namespace troupe::runtime
