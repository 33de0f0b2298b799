#include "deploy/records/events_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/telemetry/event_log.h"
#include "runtime/telemetry/printable.h"

namespace troupe::deploy {
namespace {

using wire::Event;

struct Options {
  std::string folder;
  std::vector<std::string> kinds;
  std::string actor;
  bool is_json = false;
  bool is_follow = false;
};

constexpr const char* examples = R"(Examples:
  troupe events runs/first
  troupe events runs/first --kind actor_restarted --actor expert_shard
  troupe events runs/first --follow --json)";

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (int i = Event::Kind_MIN; i <= Event::Kind_MAX; ++i) {
    if (Event::Kind_IsValid(i))
      names.push_back(runtime::event_kind_name(static_cast<Event::Kind>(i)));
  }
  return names;
}

/// "2026-11-24 12:34:56.123456" of this machine's time zone.
std::string time_text(uint64_t unix_us) {
  const auto seconds = static_cast<time_t>(unix_us / 1'000'000);
  tm parts{};
  char text[64] = {};
  if (::localtime_r(&seconds, &parts) == nullptr ||
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0) {
    return fmt::format("unix_us {}", unix_us);
  }
  return fmt::format("{}.{:06}", text, unix_us % 1'000'000);
}

std::string line_of(const Event& event) {
  std::string line = time_text(event.unix_us()) + "  " + runtime::event_kind_name(event.kind());
  const auto add = [&](const std::string& part) { line += "  " + runtime::printable(part); };
  if (!event.actor().empty()) add(event.actor());
  if (event.incarnation() != 0) add(fmt::format("incarnation {}", event.incarnation()));
  if (event.step() != 0) add(fmt::format("step {}", event.step()));
  if (event.epoch_term() != 0) add(fmt::format("epoch {}.{}", event.epoch_term(), event.epoch_n()));
  if (!event.text().empty()) add(event.text());
  return line;
}

std::string json_of(const Event& event) {
  nlohmann::ordered_json line{{"time", time_text(event.unix_us())},
                              {"unix_us", event.unix_us()},
                              {"kind", runtime::event_kind_name(event.kind())},
                              {"actor", event.actor()},
                              {"incarnation", event.incarnation()},
                              {"step", event.step()},
                              {"epoch_term", event.epoch_term()},
                              {"epoch_n", event.epoch_n()},
                              {"text", event.text()}};
  if (event.has_plan_change()) {
    const wire::PlanChange& change = event.plan_change();
    line["plan_change"] = {{"processes", change.processes()},
                           {"moved_blocks", change.moved_blocks()},
                           {"stayed_blocks", change.stayed_blocks()},
                           {"moved_bytes", change.moved_bytes()},
                           {"paused_seconds", change.paused_seconds()}};
  }
  return line.dump();
}

/// `--actor stage` takes "stage", "stage/0" and what is below.
bool is_wanted(const Options& options, const Event& event) {
  const auto& kinds = options.kinds;
  if (!kinds.empty() && std::find(kinds.begin(), kinds.end(),
                                  runtime::event_kind_name(event.kind())) == kinds.end()) {
    return false;
  }
  return options.actor.empty() || event.actor() == options.actor ||
         event.actor().starts_with(options.actor + "/");
}

/// Prints what there is to read.
void print_rest(const Options& options, runtime::EventFollower& log) {
  for (auto events = log.read(); !events.empty(); events = log.read()) {
    for (const Event& event : events) {
      if (!is_wanted(options, event)) continue;
      std::cout << (options.is_json ? json_of(event) : line_of(event)) << "\n";
    }
  }
  std::cout << std::flush;
  if (!std::cout) throw std::runtime_error("standard output cannot be written");
}

void show(const Options& options) {
  const auto path = std::filesystem::path(options.folder) / "events";
  if (!std::filesystem::is_directory(options.folder)) {
    throw std::runtime_error(options.folder + ": found no such folder, wanted a run folder");
  }
  if (!std::filesystem::exists(path)) {
    throw std::runtime_error(options.folder + ": found no event log, wanted the file " +
                             path.string());
  }
  runtime::EventFollower log(path);
  print_rest(options, log);
  while (options.is_follow) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    print_rest(options, log);
  }
  for (const std::string& note : log.notes()) std::cerr << "note: " << note << "\n";
}

}  // namespace

void add_events_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("events", "Show what happened to a run and its actors");
  command->add_option("RUN_FOLDER", options->folder, "of a run that goes on or is over")
      ->required();
  command->add_option("--kind", options->kinds, "only these kinds; may be given several times")
      ->check(CLI::IsMember(kind_names()));
  command->add_option("--actor", options->actor,
                      "only this actor's, or all of a role: expert_shard");
  command->add_flag("--json", options->is_json, "one JSON object a line");
  command->add_flag("--follow", options->is_follow, "go on with what is added, until Ctrl-C");
  command->footer(examples);
  command->callback([options] { show(*options); });
}

}  // namespace troupe::deploy
