#include "deploy/train/train_command.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "config/load.h"
#include "deploy/cluster/lead/leader_supervisor.h"
#include "deploy/options/device_option.h"
#include "deploy/options/set_option.h"
#include "deploy/plan_command.h"
#include "deploy/train/failpoint_options.h"
#include "deploy/train/lead_run.h"
#include "deploy/train/prepared_run.h"
#include "deploy/train/resume.h"
#include "deploy/train/run_setup.h"
#include "runtime/cluster/journal/journal.h"

namespace troupe::deploy {
namespace {

constexpr const char* examples = R"(Examples:
  troupe train config/runs/pretrain_tiny.textproto
  troupe train config/runs/pretrain_tiny.textproto --set train.steps=50 --out runs/short
  troupe train my_run.textproto --set data.text=notes.txt --set parallel.pipeline=2
  troupe train my_run.textproto --dry-run
  troupe train my_run.textproto --nodes 4
  troupe train --resume runs/short --set train.steps=100
  troupe train my_run.textproto --device cuda

Ctrl-C (or SIGTERM) ends a run after the step under way, with a checkpoint and its model; a second
one ends it at once. The last line of a run holds the hash of its final state: two runs are the same
run exactly if their hashes are. DIR/model is a Hugging Face folder of the trained model.)";

/// How many processes there are changes no bit, so a resumed run may have others.
config::LoadedRun load(const TrainOptions& options) {
  config::LoadedRun run = options.resume.empty()
                              ? config::load_run(options.run, options.settings)
                              : load_resumed_run(options.resume, options.settings);
  if (options.cluster.nodes > 0) run.run.mutable_cluster()->set_nodes(options.cluster.nodes);
  set_device(options.device, *run.run.mutable_cluster());
  if (!options.resume.empty()) {
    const std::filesystem::path journal = std::filesystem::path(options.resume) / "journal";
    keep_arithmetic(runtime::read_journal(journal).arithmetic, *run.run.mutable_train());
  }
  return run;
}

void train(const TrainOptions& options) {
  config::LoadedRun run = load(options);
  if (options.is_dry_run) return print_plan(plan_run(std::move(run)), {});
  PreparedRun prepared = prepare(options, set_up_run(std::move(run)));
  if (!prepared.meeting) return RunLead(prepared, {}).run();
  supervise_leader({.goes_on = prepared.folder.goes_on(), .starts_nodes = prepared.meeting->starts_nodes},
                   [&](const LeaderLife& life) { RunLead(prepared, life).run(); });
}

}  // namespace

void add_train_command(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Train a model as a run file says");
  CLI::Option* run = command->add_option("RUN", options->run, "run file (textproto)");
  CLI::Option* resume = command->add_option(
      "--resume", options->resume, "go on in a run folder; only train.steps and cluster.trace may be set anew");
  run->excludes(resume);
  add_set_option(*command, options->settings, "set a field of the run: train.steps=200");
  add_device_option(*command, options->device);
  command->add_option("--out", options->out, "run folder; default runs/<name>-<time>")
      ->excludes(resume);
  command->add_flag("--dry-run", options->is_dry_run,
                    "print sizes, memory and placement, and stop");
  command->add_flag("--write-training-text", options->writes_training_text,
                    "put the training documents into DIR/train.txt");
  add_cluster_options(*command, options->cluster);
  add_failpoint_options(*command, options->failpoints);
  command->footer(examples);
  command->callback([options] {
    if (options->run.empty() && options->resume.empty()) {
      throw CLI::RequiredError("RUN or --resume");
    }
    train(*options);
  });
}

}  // namespace troupe::deploy
