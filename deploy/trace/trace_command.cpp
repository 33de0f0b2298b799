#include "deploy/trace/trace_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "deploy/trace/trace_output.h"
#include "deploy/write_file.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;
using runtime::TraceError;

struct Options {
  std::vector<std::string> places;
  std::string svg;
  std::string json;
  std::optional<int64_t> step;
  int worker = 0;
};

constexpr const char* examples = R"(Examples:
  troupe train my_run.textproto --set cluster.trace.steps=5 --out runs/traced
  troupe trace runs/traced --svg timeline.svg
  troupe trace process-0.json process-1.json --json merged.json

Perfetto and chrome://tracing open the files. exposed: a rank has no operation, for a message of another process is
not there yet; on the way: the part of it in which the sender had made it already. An operation lasts from when its
stage comes to it until the stage has its outputs: what attention shards, routers and experts send each other within
it is not told apart. Simulated: the same lists at the medians of what was measured, with free messages.)";

bool is_part(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with("process-") && name.ends_with(".json");
}

/// Those of a folder or, if it has one, of its `trace`.
std::vector<std::string> parts_in(const fs::path& folder) {
  const fs::path place = fs::is_directory(folder / "trace") ? folder / "trace" : folder;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(place)) {
    if (is_part(entry.path())) files.push_back(entry.path().string());
  }
  if (files.empty()) {
    throw TraceError(place.string() + ": found no process-N.json, wanted those of a run with cluster.trace.steps");
  }
  std::ranges::sort(files);
  return files;
}

std::vector<NamedPart> read_parts(const std::vector<std::string>& places) {
  std::vector<NamedPart> parts;
  for (const std::string& place : places) {
    std::vector<std::string> files{place};
    if (fs::is_directory(place)) {
      files = parts_in(place);
    } else if (!fs::is_regular_file(place)) {
      throw TraceError(place + ": found no such file or folder, wanted a run folder or files of a trace");
    }
    for (const std::string& file : files) parts.push_back({file, runtime::read_trace_part(file)});
  }
  return parts;
}

const TracedStep& chosen_step(const MergedTrace& trace, const std::optional<int64_t>& wanted) {
  if (!wanted) return trace.steps.back();
  const auto found = std::ranges::find(trace.steps, *wanted, &TracedStep::step);
  if (found != trace.steps.end()) return *found;
  throw TraceError(fmt::format("--step {}: found steps {} to {}, wanted one of them", *wanted,
                               trace.steps.front().step, trace.steps.back().step));
}

void show(const Options& options) {
  const std::vector<NamedPart> parts = read_parts(options.places);
  const MergedTrace trace = merge_parts(parts);
  const TracedStep& step = chosen_step(trace, options.step);
  if (options.worker < 0 || options.worker >= trace.origin.workers) {
    throw TraceError(fmt::format("--worker {}: wanted 0 to {}", options.worker, trace.origin.workers - 1));
  }
  for (const std::string& note : trace.notes) std::cerr << "note: " << note << "\n";
  const std::vector<RankUse> uses = use_of_ranks(trace);
  std::cout << use_table(trace, uses);
  if (!options.svg.empty()) {
    write_file(options.svg, draw_trace(trace, step, options.worker));
    std::cout << "timeline    " << options.svg << "\n";
  }
  if (!options.json.empty()) {
    write_file(options.json, merged_events(parts, uses));
    std::cout << "events      " << options.json << "\n";
  }
}

}  // namespace

void add_trace_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("trace", "Show which operation ran when, and what ranks waited for");
  command->add_option("RUN_FOLDER", options->places, "a run folder, or files that its processes have written")
      ->required();
  command->add_option("--svg", options->svg, "draw a step: as measured, and as simulated");
  command->add_option("--json", options->json, "write all processes' events into one file");
  command->add_option("--step", options->step, "the step to draw; default: the last");
  command->add_option("--worker", options->worker, "the data worker to draw; default: 0");
  command->footer(examples);
  command->callback([options] { show(*options); });
}

}  // namespace troupe::deploy
