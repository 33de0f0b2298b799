#include "deploy/chaos/chaos_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "config/load.h"
#include "deploy/ablate/arm_result.h"
#include "deploy/chaos/campaign_report.h"
#include "deploy/chaos/fault_plan.h"
#include "deploy/children.h"
#include "deploy/failpoint_options.h"
#include "deploy/run_setup.h"
#include "deploy/set_option.h"
#include "deploy/write_file.h"
#include "runtime/model_shape.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;
using actors::Failpoint;

struct Options {
  std::string run;
  std::vector<std::string> settings;
  std::string plan;
  std::string out;
  std::vector<std::string> kinds{"crash", "segfault", "exit"};
  int nodes = 0, count = 40;
  uint64_t seed = 1, every = 4;
};

constexpr const char* help = R"(Examples:
  troupe chaos config/runs/pretrain_tiny.textproto --nodes 4 --faults 100
  troupe chaos my_run.textproto --nodes 8 --plan faults.txt     # crash expert_shard/1@7:backward, a line each
  troupe chaos my_run.textproto --nodes 2 --kinds kill,fail,crash,exit --seed 7

Trains twice, once in quiet and once with failures: real signals to real processes, each in a step and phase
of its own. It is a success if every failure was witnessed and both runs end in the same hash. DIR has both
runs, report.txt, report.json and recovery.svg.)";

/// The steps it takes for one failure every so many, and a few behind the last.
std::vector<std::string> with_steps(std::vector<std::string> settings, uint64_t steps) {
  settings.push_back("train.steps=" + std::to_string(steps));
  return settings;
}

config::LoadedRun load(const Options& options, const std::vector<std::string>& settings) {
  config::LoadedRun run = config::load_run(options.run, settings);
  if (options.nodes > 0) run.run.mutable_cluster()->set_nodes(options.nodes);
  return run;
}

std::vector<Failpoint> plan_of(const Options& options) {
  if (!options.plan.empty()) return read_fault_plan(options.plan);
  const RunSetup setup = plan_run(load(options, options.settings));
  const FailpointField field{setup.plan, runtime::model_shape(setup.model.model),
                             setup.run.run.train().steps(), setup.run.run.checkpoint().every(), false};
  return fault_plan({.seed = options.seed,
                     .count = options.count,
                     .every = options.every,
                     .checkpoint_every = static_cast<uint64_t>(field.checkpoint_every),
                     .kinds = fault_kinds(options.kinds),
                     .counts = actor_counts(field)});
}

uint64_t last_step(const std::vector<Failpoint>& plan) {
  uint64_t last = 0;
  for (const Failpoint& f : plan) last = std::max(last, f.step);
  return last;
}

std::vector<std::string> train_arguments(const Options& options,
                                         const std::vector<std::string>& settings,
                                         const fs::path& folder) {
  std::vector<std::string> arguments{"train", options.run, "--out", folder.string()};
  for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  if (options.nodes > 0) arguments.insert(arguments.end(), {"--nodes", std::to_string(options.nodes)});
  return arguments;
}

/// Runs one, and says how long it took.
double train(const std::string& name, std::vector<std::string> arguments, const fs::path& out,
             int& exit_code) {
  const auto begin = std::chrono::steady_clock::now();
  run_children({{name, std::move(arguments), out / (name + ".log")}}, 1,
               [&](const Child&, const ChildEnd& end) { exit_code = end.status; });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

CampaignResult campaign(const Options& options, const std::vector<Failpoint>& plan,
                        const fs::path& out) {
  CampaignResult result;
  const auto settings = with_steps(options.settings, last_step(plan) + options.every);
  result.quiet_seconds = train("quiet", train_arguments(options, settings, out / "quiet"), out,
                               result.exit_code);
  if (result.exit_code != 0) {
    throw std::runtime_error(fmt::format("the quiet run ended with {}, see {}", result.exit_code,
                                         (out / "quiet.log").string()));
  }
  result.quiet_hash = read_arm_result("quiet", out / "quiet").hash;
  std::vector<std::string> arguments = train_arguments(options, settings, out / "faults");
  for (const Failpoint& f : plan) {
    const std::string text = to_string(f);
    const size_t space = text.find(' ');
    arguments.insert(arguments.end(), {"--" + text.substr(0, space), text.substr(space + 1)});
  }
  std::cout << fmt::format("quiet run {:.1f} s, hash {}\n", result.quiet_seconds, result.quiet_hash)
            << std::flush;
  result.seconds = train("faults", std::move(arguments), out, result.exit_code);
  const auto events = runtime::read_events(out / "faults" / "events").events;
  result.outcomes = outcomes_of(events);
  const auto fired = fired_failpoints(out / "faults" / "events");
  for (const Failpoint& f : plan) {
    const std::string text = to_string(f);
    if (std::find(fired.begin(), fired.end(), text) == fired.end()) result.unwitnessed.push_back(text);
  }
  if (result.exit_code == 0) result.hash = read_arm_result("faults", out / "faults").hash;
  return result;
}

void chaos(const Options& options) {
  const std::vector<Failpoint> plan = plan_of(options);
  const fs::path out = options.out.empty()
                           ? fs::path("runs") / ("chaos-" + fs::path(options.run).stem().string())
                           : fs::path(options.out);
  if (fs::exists(out)) {
    throw std::runtime_error(out.string() + " is there already, wanted a new folder (--out)");
  }
  fs::create_directories(out);
  std::cout << fmt::format("{} failures in {} steps, in {}\n", plan.size(),
                           last_step(plan) + options.every, out.string())
            << std::flush;
  const CampaignResult result = campaign(options, plan, out);
  const std::string table = campaign_table(result);
  write_file(out / "report.txt", table);
  write_file(out / "report.json", campaign_json(result));
  write_file(out / "recovery.svg", recovery_svg(result.outcomes));
  std::cout << table << "report " << (out / "report.txt").string() << "\n" << std::flush;
  if (!result.is_good()) {
    throw std::runtime_error("the campaign failed: see above, and " + (out / "faults.log").string());
  }
}

}  // namespace

void add_chaos_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("chaos", "Train with failures, and compare with a quiet run");
  command->add_option("RUN", options->run, "run file (textproto)")->required();
  CLI::Option* plan = command->add_option("--plan", options->plan, "failures from a file, one a line");
  command->add_option("--faults", options->count, "how many are drawn")->excludes(plan)
      ->check(CLI::Range(1, 100'000))->capture_default_str();
  command->add_option("--seed", options->seed, "that they are drawn by")->excludes(plan)
      ->capture_default_str();
  command->add_option("--kinds", options->kinds,
                      "of actors: kill, fail, drop, delay; of processes: crash, segfault, exit, freeze, hang")
      ->excludes(plan)->delimiter(',')->capture_default_str();
  command->add_option("--every", options->every, "steps from one to the next")->excludes(plan)
      ->check(CLI::Range(1, 100'000))->capture_default_str();
  command->add_option("--nodes", options->nodes, "processes of the run; default: cluster.nodes")
      ->check(CLI::Range(1, 4096));
  add_set_option(*command, options->settings, "set a field of both runs");
  command->add_option("--out", options->out, "folder; default runs/chaos-<name>");
  command->footer(help);
  command->callback([options] { chaos(*options); });
}

}  // namespace troupe::deploy
