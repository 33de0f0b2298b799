#include "deploy/cluster/drain_command.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <thread>

#include "runtime/cluster/journal/orders.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string folder, node;
  int wait = 60;
};

constexpr const char* help = R"(Examples:
  troupe drain runs/my_run 2         # process 2 leaves
  troupe drain runs/my_run node-b    # all processes of that host

The step under way is ended, the others go on with what is left, and no bit of the run changes. Anyone who may
write to the run's folder may order it; the order waits there while nobody leads the run.)";

/// What the run says of it: its plan has changed, or why that cannot be.
std::string answer(runtime::EventFollower& events, const runtime::DrainOrder& order) {
  for (const wire::Event& event : events.read()) {
    if (event.kind() == wire::Event::PLAN_CHANGED) return event.text();
    const std::string refused = "node " + order.node + " cannot leave: ";
    if (event.kind() == wire::Event::ALARM && event.text().starts_with(refused)) {
      throw std::runtime_error(event.text());
    }
  }
  return {};
}

void drain(const Options& options) {
  const std::filesystem::path folder = options.folder;
  runtime::EventFollower events(folder / "events");
  events.read();  // what was before
  const runtime::DrainOrder order = runtime::order_drain(folder, options.node);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options.wait);
  while (std::chrono::steady_clock::now() < end) {
    if (const std::string text = answer(events, order); !text.empty()) {
      std::cout << "plan changed: " << text << std::endl;
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (std::filesystem::exists(order.file)) {
    throw std::runtime_error("nobody has taken the order " + order.file.string() + " within " +
                             std::to_string(options.wait) + " s; it waits there for who leads the run");
  }
  throw std::runtime_error("the run has taken the order and not carried it out within " +
                           std::to_string(options.wait) + " s: see troupe events " + folder.string());
}

}  // namespace

void add_drain_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("drain", "Let a node leave a run that is under way");
  command->add_option("RUN_FOLDER", options->folder, "folder of the run")->required();
  command->add_option("NODE", options->node, "its process's number, or its host's name")->required();
  command->add_option("--wait", options->wait, "seconds to wait for it")
      ->check(CLI::Range(0, 1'000'000))->capture_default_str();
  command->footer(help);
  command->callback([options] { drain(*options); });
}

}  // namespace troupe::deploy
