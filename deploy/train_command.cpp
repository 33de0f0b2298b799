#include "deploy/train_command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <thread>

#include "actors/launch.h"
#include "actors/model/model_folder.h"
#include "actors/train/evaluator.h"
#include "config/load.h"
#include "config/parameters.h"
#include "config/phases.h"
#include "deploy/cluster/end_if_hung.h"
#include "deploy/cluster/leader.h"
#include "deploy/cluster/leader_supervisor.h"
#include "deploy/console.h"
#include "deploy/device_option.h"
#include "deploy/failpoint_options.h"
#include "deploy/machine.h"
#include "deploy/plan_command.h"
#include "deploy/prepared_run.h"
#include "deploy/resume.h"
#include "deploy/run_folder.h"
#include "deploy/run_setup.h"
#include "deploy/set_option.h"
#include "deploy/stop_signals.h"
#include "deploy/training_data.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"

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

void raise_alarm(const std::string& what) { std::cerr << "alarm: " << what << std::endl; }

/// Training goes on without a line that the disk refuses: the journal has what matters.
template <class... Metrics>
void add_metrics(RunFolder& folder, const Metrics&... metrics) {
  try {
    folder.add_metrics(metrics...);
  } catch (const std::runtime_error& error) {
    raise_alarm(error.what());
  }
}

/// While it lives, the first signal stops the troupe.
class StopOnSignal {
 public:
  StopOnSignal(StopSignals& signals, actors::Troupe& troupe) : signals_(signals) {
    signals_.on_stop([&troupe] { troupe.request_stop(); });
  }
  ~StopOnSignal() { signals_.on_stop({}); }

 private:
  StopSignals& signals_;
};

/// How many processes there are changes no bit, so a resumed run may have others.
config::LoadedRun load(const TrainOptions& options) {
  config::LoadedRun run = options.resume.empty()
                              ? config::load_run(options.run, options.settings)
                              : load_resumed_run(options.resume, options.settings);
  if (options.cluster.nodes > 0) run.run.mutable_cluster()->set_nodes(options.cluster.nodes);
  set_device(options.device, *run.run.mutable_cluster());
  return run;
}

/// Of all processes; those of this machine share its cores.
double peak_flops(const RunSetup& setup, const ClusterOptions& cluster) {
  const kernels::Device device = device_of(setup.run.run.cluster());
  if (device == kernels::Device::cuda) {
    return measure_peak_flops(1, device) * setup.plan.processes;
  }
  if (!cluster.listen.empty()) return measure_peak_flops(setup.plan.threads) * setup.plan.processes;
  return measure_peak_flops(std::min(setup.cores, setup.plan.threads * setup.plan.processes));
}

/// While it lives, a lease that is lost ends the troupe.
class StopOnLoss {
 public:
  StopOnLoss(runtime::Leadership* leadership, std::function<void(const std::string&)> lost)
      : leadership_(leadership) {
    if (leadership_) leadership_->lease().on_loss(std::move(lost));
  }
  ~StopOnLoss() {
    if (leadership_) leadership_->lease().on_loss({});
  }

 private:
  runtime::Leadership* const leadership_;
};

/// Nobody else is to go on with the run. Waits until etcd has it.
void end_everywhere(runtime::Leadership& leadership, Leader& leader, const std::string& text) {
  wire::LeasedEnd end;
  end.set_text(text);
  for (bool is_said = false;;) {
    const runtime::Commitment outcome = leadership.finish(end);
    if (outcome == runtime::Commitment::committed) return;
    if (!std::exchange(is_said, true)) raise_alarm("the end of the run waits: " + leadership.error());
    if (outcome == runtime::Commitment::fenced) {
      leader.abandon();
      throw Fenced("this process led the run to its end, and another leads now");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

/// Whoever took over would fail in the same way. If etcd does not hear it, it does so.
void end_in_failure(runtime::Leadership& leadership, const std::string& why) {
  wire::LeasedEnd end;
  end.set_text(why);
  end.set_has_failed(true);
  leadership.finish(end);
}

/// This process trains, with others if there are.
void lead(PreparedRun& prepared, const LeaderLife& life) {
  const TrainOptions& options = prepared.options;
  const RunSetup& p = prepared.setup;
  const TrainingData& data = prepared.data;
  RunFolder& folder = prepared.folder;
  const auto& failpoints = prepared.failpoints;
  auto history = runtime::read_journal(folder.path() / "journal");
  const Mandate mandate = take_the_lead(prepared, life, history);
  if (!mandate.end.empty()) {
    std::cout << "the run has ended elsewhere: " << mandate.end << std::endl;
    return;
  }
  runtime::Leadership* const leadership = mandate.leadership.get();
  bool takes_over = false;
  auto nodes = gather(prepared, mandate, history, takes_over);
  const auto recipe = actors::make_recipe(p.run.run, runtime::model_shape(p.model.model));
  runtime::StateArena arena(kernels::parameters(recipe.shape), actors::state_format(recipe));
  const StartingPointArgs point{.folder = folder.path(),
                                .history = std::move(history),
                                .arena = arena,
                                .recipe = recipe,
                                .newest_state = static_cast<uint64_t>(recipe.steps)};
  StartingPoint start = takes_over ? takeover_point(point) : starting_point(point);
  for (const std::string& note : start.notes) std::cout << "note: " << note << "\n" << std::flush;
  const bool is_first_state = !takes_over && start.from.record.step() == 0;
  if (is_first_state) start.bias = initial_state(p, recipe, arena);
  auto storage = std::make_unique<actors::RunStorage>();
  storage->journal = std::make_unique<runtime::JournalWriter>(
      folder.path() / "journal", start.history, std::string(name_of(recipe.arithmetic)));
  if (!storage->journal->append(mandate.missing)) {
    throw runtime::JournalError(storage->journal->error());
  }
  if (leadership) {
    storage->commits = {[=](const wire::JournalEntry& entry) { return leadership->append(entry); },
                        [=] { return leadership->error(); }};
  }
  storage->checkpoints = {folder.path() / "checkpoints", p.run.run.checkpoint().every(),
                          p.run.run.checkpoint().keep(), folder.path() / "units"};
  start.from.term = storage->journal->term();
  const std::filesystem::path events = folder.path() / "events";
  const auto fired = failpoints.empty() ? std::vector<std::string>() : fired_failpoints(events);
  storage->events = std::make_unique<runtime::EventLog>(events);
  StopSignals signals;  // before the first thread
  kernels::ThreadPool pool(p.plan.threads);
  const actors::Timeline timeline(recipe);
  const auto batches = [&](uint64_t step) { return data.step(timeline.at(step)); };
  auto company = std::make_shared<actors::Company>(recipe, p.plan, arena, pool, batches, 0,
                                                   device_of(p.run.run.cluster()));
  settle(*company, p.run.run);
  company->failpoints.set(failpoints, fired);
  company->failpoints.strike = strike_process;
  if (p.run.run.train().unit_hashes()) company->record_units();
  company->glass = runtime::Glass::create(std::filesystem::absolute(folder.path()));
  if (!company->glass->note().empty()) std::cout << "note: " << company->glass->note() << "\n";

  Console console({.steps = recipe.steps,
                   .timeline = timeline,
                   .varies = recipe.varies(),
                   .flops_per_token =
                       [&](int64_t rows) {
                         return config::train_flops_per_token(p.model.model,
                                                              static_cast<int32_t>(rows));
                       },
                   .peak_flops = peak_flops(p, options.cluster),
                   .is_terminal = isatty(STDOUT_FILENO) == 1});
  std::optional<wire::StepDone> last = start.last;
  // Nodes make the first state themselves unless it comes from a model's files.
  const bool hands_out_state = nodes && !takes_over && (!is_first_state || p.weights);
  const auto hang_watch = nodes ? end_if_hung(*company) : nullptr;  // also while what follows is taken down
  std::unique_ptr<Leader> leader;
  if (nodes) {
    leader = std::make_unique<Leader>(
        Leader::Args{.gathering = std::move(nodes),
                     .setup = p,
                     .company = company,
                     .run_folder = std::filesystem::absolute(folder.path()).string(),
                     .hands_out_state = hands_out_state,
                     .takes_over = takes_over,
                     .term = leadership ? leadership->term().term : 0});
  }
  try {
    actors::Troupe troupe({.company = company,
                           .options = {.hash_every = p.run.run.train().hash_every(),
                                       .eval_every = p.run.run.train().eval_every(),
                                       .checkpoint_every = p.run.run.checkpoint().every()},
                           .bias = start.bias,
                           .from = start.from,
                           .storage = std::move(storage),
                           .documents = data.heldout,
                           .hands_out_state = hands_out_state,
                           .actors = leader ? &leader->actors() : nullptr});
    std::optional<Leader::Watch> watch;
    if (leader) watch.emplace(*leader, troupe, "; troupe train --resume " + folder.path().string() +
                                                  " goes on");
    const StopOnLoss by_lease(leadership, [&](const std::string& how) {
      if (leader) leader->abandon();
      company->happened(Leader::event_of(wire::Event::PROCESS_FENCED, "this process leads no more: " + how));
      troupe.give_up(how);
    });
    if (!mandate.loss.empty()) {
      wire::Event lost = Leader::event_of(wire::Event::PROCESS_LOST, mandate.loss);
      lost.set_unix_us(mandate.loss_us);
      company->happened(lost);
      company->happened(Leader::event_of(wire::Event::PROCESS_JOINED,
                                 "process 0 (pid " + std::to_string(::getpid()) + ") leads in its place"));
      if (leader && !takes_over && p.plan.redundancy > 0) {
        company->happened(Leader::event_of(wire::Event::STATE_LOST, mandate.loss));
      }
    }
    if (mandate.is_first_of_plan) {
      company->happened(Leader::event_of(wire::Event::PLAN_CHANGED,
                                 std::to_string(p.plan.processes) + " processes from step " +
                                     std::to_string(start.from.record.step() + 1) + " on"));
    }
    const StopOnSignal stop(signals, troupe);
    troupe.run({.step_done =
                    [&](const wire::StepDone& done) {
                      last = done;
                      life.step_done();
                      add_metrics(folder, done, timeline.at(done.record().step()));
                      console.step_done(done);
                      if (leader) leader->step_done(done);
                      if (console.is_reader_gone()) signals.request(SIGPIPE);
                    },
                .evaluated =
                    [&](const wire::Evaluation& evaluation) {
                      add_metrics(folder, evaluation);
                      console.evaluated(evaluation);
                    },
                .alarm = raise_alarm,
                .happened = [&](const wire::Event& event) { console.happened(event); }});
    const bool goes_on = leader && leader->change() && signals.received() == 0 && last &&
                         last->record().step() < static_cast<uint64_t>(recipe.steps);
    if (leadership && last && !goes_on) {
      end_everywhere(*leadership, *leader, "step " + std::to_string(last->record().step()) + " of " +
                                               std::to_string(recipe.steps));
    }
  } catch (const actors::RunError& error) {
    if (leadership && !leadership->lease().loss().empty()) {
      throw Fenced("this process led the run in term " + std::to_string(leadership->term().term) +
                   " and does no more: " + leadership->lease().loss());
    }
    if (leadership && !leader->has_lost_state()) end_in_failure(*leadership, error.what());
    if (leader && leader->has_lost_state()) throw BeginAgain(error.what());
    throw;
  }
  if (leader && last && last->record().step() < static_cast<uint64_t>(recipe.steps) &&
      signals.received() == 0) {
    if (const auto change = leader->change()) {
      if (leadership) leadership->lease().leave();
      throw GoOnWith(change->processes, change->why);
    }
  }
  leader.reset();
  for (const std::string& text : company->failpoints.unfired()) {
    std::cout << "note: failpoint " << text << " was not reached\n";
  }
  if (!last) return;
  const auto& record = last->record();
  if (runtime::has_huggingface_form(p.model.model)) {
    std::filesystem::remove_all(folder.path() / "model");  // of a shorter run that was resumed
    actors::export_model({.folder = folder.path() / "model",
                          .model = config::model_at(p.run.run, p.model.model, record.step()),
                          .arena = arena,
                          .state = record.step(),
                          .routing_bias = {record.bias().begin(), record.bias().end()},
                          .tokenizer = data.tokenizer.get(),
                          .context = timeline.phase_of_state(record.step()).sequence_rows});
    std::cout << "model " << (folder.path() / "model").string() << "\n";
  } else {
    std::cout << "note: no model folder, the attention is no MLA; eval and generate take "
              << folder.path().string() << "\n";
  }
  console.finished(*last);
  if (record.step() < static_cast<uint64_t>(recipe.steps)) {
    throw StoppedBySignal(signals.received(),
                          "stopped by " + signal_name(signals.received()) + " after step " +
                              std::to_string(record.step()) + " of " +
                              std::to_string(recipe.steps) + "; troupe train --resume " +
                              folder.path().string() + " goes on");
  }
}

void train(const TrainOptions& options) {
  config::LoadedRun run = load(options);
  if (options.is_dry_run) return print_plan(plan_run(std::move(run)), {});
  PreparedRun prepared = prepare(options, set_up_run(std::move(run)));
  if (!prepared.meeting) return lead(prepared, {});
  supervise_leader([&](const LeaderLife& life) { lead(prepared, life); });
}

}  // namespace

void add_train_command(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Train a model as a run file says");
  CLI::Option* run = command->add_option("RUN", options->run, "run file (textproto)");
  CLI::Option* resume = command->add_option(
      "--resume", options->resume, "go on in a run folder; only train.steps may be set anew");
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
