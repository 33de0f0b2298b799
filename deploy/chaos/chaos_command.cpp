#include "deploy/chaos/chaos_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "config/load.h"
#include "deploy/ablate/arm_result.h"
#include "deploy/chaos/campaign_report.h"
#include "deploy/chaos/fault_plan.h"
#include "deploy/chaos/scene.h"
#include "deploy/options/set_option.h"
#include "deploy/process/children.h"
#include "deploy/train/failpoint_options.h"
#include "deploy/train/run_setup.h"
#include "deploy/write_file.h"
#include "runtime/cluster/memory_group.h"
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
  bool beside_restarts = false;
};

constexpr const char* help = R"(Examples:
  troupe chaos config/runs/pretrain_tiny.textproto --nodes 4 --faults 100
  troupe chaos my_run.textproto --nodes 8 --plan faults.txt     # crash expert_shard/1@7:backward, a line each
  troupe chaos my_run.textproto --nodes 2 --kinds kill,fail,crash,exit --seed 7

Trains twice, once in quiet and once with failures: real signals to real processes, each in a step and phase
of its own. It is a success if every failure was witnessed and both runs end in the same hash.
Effective training time is what the steps take undisturbed, of all the time that the run took. DIR has both
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

int processes_of(const Options& options) {
  return load(options, options.settings).run.cluster().nodes();
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

/// Runs them beside each other. How long that took, and how the first ended.
double run_all(const std::vector<Child>& children, int& exit_code) {
  const auto begin = std::chrono::steady_clock::now();
  auto seconds = std::chrono::steady_clock::duration::zero();
  run_children(children, static_cast<int>(children.size()), [&](const Child& child, const ChildEnd& end) {
    if (child.name != children.front().name) return;
    exit_code = end.status;
    seconds = std::chrono::steady_clock::now() - begin;
  });
  return std::chrono::duration<double>(seconds).count();
}

double train(const std::string& name, std::vector<std::string> arguments, const fs::path& out,
             int& exit_code) {
  return run_all({{name, std::move(arguments), out / (name + ".log")}}, exit_code);
}

std::vector<std::string> failure_arguments(const std::vector<Failpoint>& plan) {
  std::vector<std::string> arguments;
  for (const Failpoint& f : plan) {
    const std::string text = to_string(f);
    const size_t space = text.find(' ');
    arguments.insert(arguments.end(), {"--" + text.substr(0, space), text.substr(space + 1)});
  }
  return arguments;
}

/// What others do: no copies of the state, and whoever watches the program starts it again.
CampaignResult::Restarts with_restarts(const Options& options, const std::vector<Failpoint>& plan,
                                       std::vector<std::string> settings, const fs::path& out) {
  const fs::path folder = out / "restarts";
  settings.push_back("cluster.redundancy=0");
  const auto failures = failure_arguments(plan);
  std::vector<std::string> arguments = train_arguments(options, settings, folder);
  CampaignResult::Restarts restarts;
  for (int code = 1; code != 0; ++restarts.count) {
    if (restarts.count > static_cast<int>(2 * plan.size()) + 2) {
      throw std::runtime_error(fmt::format("the run from checkpoints does not come to its end, see {}",
                                           (out / "restarts.log").string()));
    }
    arguments.insert(arguments.end(), failures.begin(), failures.end());
    train("restarts", arguments, out, code);
    arguments = {"train", "--resume", folder.string()};
  }
  --restarts.count;
  restarts.hash = read_arm_result("restarts", folder).hash;
  restarts.time = effective_time_of(folder);
  return restarts;
}

/// Room for twice what the quiet run has left, and for what is written beside it.
uint64_t disk_bytes(const fs::path& quiet) {
  uint64_t bytes = 32 << 20;
  for (const auto& file : fs::recursive_directory_iterator(quiet)) {
    if (file.is_regular_file()) bytes += 2 * file.file_size();
  }
  return bytes;
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
  const auto failures = failure_arguments(plan);
  arguments.insert(arguments.end(), failures.begin(), failures.end());
  Scene scene({.plan = plan,
               .run_folder = out / "faults",
               .log = out / "faults.log",
               .processes = processes_of(options),
               .disk_bytes = disk_bytes(out / "quiet")});
  std::cout << fmt::format("quiet run {:.1f} s, hash {}\n", result.quiet_seconds, result.quiet_hash)
            << std::flush;
  runtime::close_memory_groups();  // of others, before
  result.seconds = run_all(scene.children(std::move(arguments)), result.exit_code);
  const auto done = scene.finish();
  for (const std::string& text : scene.failed()) result.unwitnessed.push_back(text);
  const auto events = runtime::read_events(out / "faults" / "events").events;
  result.outcomes = outcomes_of(events);
  const auto fired = fired_failpoints(out / "faults" / "events");
  for (const Failpoint& f : plan) {
    const auto& witnesses = is_of_surroundings(f.fault) ? done : fired;
    const std::string text = to_string(f);
    if (std::find(witnesses.begin(), witnesses.end(), text) == witnesses.end()) {
      result.unwitnessed.push_back(text);
    }
  }
  if (result.exit_code == 0) result.hash = read_arm_result("faults", out / "faults").hash;
  for (std::string& text : without_lack_of_memory(result.outcomes, runtime::close_memory_groups())) {
    result.unwitnessed.push_back(std::move(text));
  }
  result.quiet_time = effective_time_of(out / "quiet");
  result.time = effective_time_of(out / "faults");
  if (options.beside_restarts) result.restarts = with_restarts(options, plan, settings, out);
  return result;
}

/// A process that is lost is replaced by others of its run.
void check_processes(const std::vector<Failpoint>& plan, int processes) {
  if (processes > 1) return;
  for (const Failpoint& f : plan) {
    if (!is_of_process(f.fault)) continue;
    throw std::runtime_error("found the failure '" + to_string(f) + "', which ends a process, in a run of one; "
                             "wanted several (--nodes), or failures of actors (--kinds kill,fail,drop,delay)");
  }
}

void chaos(const Options& options) {
  const std::vector<Failpoint> plan = plan_of(options);
  check_means(plan);
  const int processes = processes_of(options);
  check_processes(plan, processes);
  Scene::check(plan, processes);
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
                      "of actors: kill, fail, drop, delay; of processes: crash, segfault, exit, freeze, hang, oom; of what is around them: disk, link, oneway")
      ->excludes(plan)->delimiter(',')->capture_default_str();
  command->add_option("--every", options->every, "steps from one to the next")->excludes(plan)
      ->check(CLI::Range(1, 100'000))->capture_default_str();
  command->add_option("--nodes", options->nodes, "processes of the run; default: cluster.nodes")
      ->check(CLI::Range(1, 4096));
  command->add_flag("--beside-restarts", options->beside_restarts,
                    "also the same failures without copies of the state, from checkpoints");
  add_set_option(*command, options->settings, "set a field of both runs");
  command->add_option("--out", options->out, "folder; default runs/chaos-<name>");
  command->footer(help);
  command->callback([options] { chaos(*options); });
}

}  // namespace troupe::deploy
