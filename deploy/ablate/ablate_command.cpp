#include "deploy/ablate/ablate_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <thread>

#include "config/load.h"
#include "deploy/ablate/arms.h"
#include "deploy/ablate/report.h"
#include "deploy/options/set_option.h"
#include "deploy/process/children.h"
#include "deploy/train/run_setup.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string run, out;
  std::vector<std::string> settings, over;
  int jobs = 1;
  int threads = 0;  ///< of each run; 0: the cores over the jobs
};

std::string footer() {
  std::string text = R"(Example:
  troupe ablate config/runs/pretrain_tiny.textproto --over bias,mtp --set train.steps=200

Trains the run as it is written, and once more for each value of each switch, with the same seed and
nothing else changed. DIR gets a run folder an arm, report.txt, report.json, loss.svg and
maxvio.svg. An arm whose run is there already goes on where it stopped.

Switches:
)";
  for (const AblationSwitch& s : ablation_switches()) {
    text += fmt::format("  {:<10} {}\n", s.name, s.meaning);
  }
  return text + "  FIELD=VALUE|VALUE   an arm for each value of a field of the run";
}

/// Every arm's run is read before the first one starts: a wrong value is no matter of hours.
void check(const Options& options, const std::vector<Arm>& arms) {
  for (const Arm& arm : arms) {
    std::vector<std::string> settings = options.settings;
    settings.insert(settings.end(), arm.settings.begin(), arm.settings.end());
    set_up_run(config::load_run(options.run, settings));
  }
}

std::vector<Child> children_of(const Options& options, const std::vector<Arm>& arms,
                               const std::filesystem::path& out) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads =
      options.threads > 0 ? options.threads : std::max(1, cores / options.jobs);
  std::vector<Child> children;
  for (const Arm& arm : arms) {
    const auto folder = out / arm.name;
    std::vector<std::string> arguments{"train"};
    if (std::filesystem::exists(folder / "run.textproto")) {
      arguments.insert(arguments.end(), {"--resume", folder.string()});
    } else {
      arguments.insert(arguments.end(),
                       {options.run, "--out", folder.string(), "--set",
                        fmt::format("cluster.threads={}", threads)});
      for (const auto* list : {&options.settings, &arm.settings}) {
        for (const std::string& setting : *list) {
          arguments.insert(arguments.end(), {"--set", setting});
        }
      }
    }
    children.push_back({arm.name, std::move(arguments), out / (arm.name + ".log")});
  }
  return children;
}

void ablate(const Options& options) {
  const std::vector<Arm> arms = arms_of(options.over);
  check(options, arms);
  const std::filesystem::path out =
      options.out.empty()
          ? std::filesystem::path("runs") /
                ("ablate-" + std::filesystem::path(options.run).stem().string())
          : std::filesystem::path(options.out);
  std::filesystem::create_directories(out);
  std::map<std::string, int64_t> peaks;
  std::string failed;
  std::cout << fmt::format("{} arms, {} at a time, in {}\n", arms.size(), options.jobs,
                           out.string())
            << std::flush;
  run_children(children_of(options, arms, out), options.jobs,
               [&](const Child& child, const ChildEnd& end) {
                 peaks[child.name] = end.peak_bytes;
                 std::cout << fmt::format("{}  {}\n", child.name,
                                          end.status == 0 ? "done"
                                                          : fmt::format("ended with {}, see {}",
                                                                        end.status,
                                                                        child.log.string()))
                           << std::flush;
                 if (end.status != 0) failed += (failed.empty() ? "" : ", ") + child.name;
               });
  if (!failed.empty()) {
    throw std::runtime_error("no report: " + failed + " did not end well; the same command goes on");
  }
  std::vector<ArmResult> results;
  for (const Arm& arm : arms) {
    results.push_back(read_arm_result(arm.name, out / arm.name));
    results.back().peak_bytes = peaks[arm.name];
  }
  write_ablation(out, options.run, results);
  std::cout << "\n" << ablation_table(results) << "\nreport " << (out / "report.txt").string() << "\n";
}

}  // namespace

void add_ablate_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("ablate", "Compare runs that differ in one switch");
  command->add_option("RUN", options->run, "run file (textproto)")->required();
  command->add_option("--over", options->over, "switches, separated by commas; or repeated")
      ->required()->delimiter(',')->take_all()->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_set_option(*command, options->settings, "set a field of every arm's run");
  command->add_option("--out", options->out, "folder; default runs/ablate-<name>");
  command->add_option("--jobs", options->jobs, "arms at a time")->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "of each arm; default: the cores over the jobs")
      ->check(CLI::Range(1, 1024));
  command->footer(footer());
  command->callback([options] { ablate(*options); });
}

}  // namespace troupe::deploy
