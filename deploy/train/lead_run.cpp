#include "deploy/train/lead_run.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <thread>
#include <utility>

#include "config/parameters.h"
#include "deploy/cluster/end_if_hung.h"
#include "deploy/cluster/lead/plan_change.h"
#include "deploy/options/device_option.h"
#include "deploy/process/machine.h"
#include "deploy/train/lead_end.h"
#include "deploy/train/where_it_computes.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/model_shape.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

/// So often one behind the other a change of processes may fail.
constexpr int most_regroupings = 5;
/// How often a journal that waits for room is tried.
constexpr std::chrono::milliseconds journal_interval{200};

void raise_alarm(const std::string& what) { std::cerr << "alarm: " + what + "\n" << std::flush; }

/// Training goes on without a line that the disk refuses: the journal has what matters.
template <class... Metrics>
void add_metrics(RunFolder& folder, const Metrics&... metrics) {
  try {
    folder.add_metrics(metrics...);
  } catch (const std::runtime_error& error) {
    raise_alarm(error.what());
  }
}

/// While it lives, the first signal stops the troupe, and who leads it (if anybody).
class StopOnSignal {
 public:
  StopOnSignal(StopSignals& signals, actors::Troupe& troupe, Leader* leader) : signals_(signals) {
    signals_.on_stop([&troupe, leader] {
      troupe.request_stop();
      if (leader) leader->stop();
    });
  }
  ~StopOnSignal() { signals_.on_stop({}); }

 private:
  StopSignals& signals_;
};

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

}  // namespace

RunLead::RunLead(PreparedRun& prepared, const LeaderLife& life)
    : prepared_(prepared), setup_(prepared.setup), folder_(prepared.folder), life_(&life),
      recipe_(actors::make_recipe(setup_.run.run, runtime::model_shape(setup_.model.model))),
      timeline_(recipe_), arena_(kernels::parameters(recipe_.shape), actors::state_format(recipe_)),
      children_(std::make_shared<NodeProcesses>()) {}

/// Of all processes; those of this machine share its cores.
double RunLead::peak_flops() {
  const kernels::Device device = device_of(setup_.run.run.cluster());
  const config::Plan& plan = setup_.plan;
  const bool is_here = prepared_.options.cluster.listen.empty();
  const bool is_gpu = device == kernels::Device::cuda;
  const int threads = is_gpu    ? 1
                      : is_here ? std::min(setup_.cores, plan.threads * plan.processes)
                                : plan.threads;
  auto found = peak_flops_.find(threads);
  if (found == peak_flops_.end()) {
    found = peak_flops_.emplace(threads, measure_peak_flops(threads, device, recipe_.arithmetic)).first;
  }
  return found->second * (is_gpu || !is_here ? plan.processes : 1);
}

void RunLead::open_console() {
  const auto flops_per_token = [this](int64_t rows) {
    return config::train_flops_per_token(setup_.model.model, static_cast<int32_t>(rows));
  };
  console_.emplace(ConsoleOptions{.steps = recipe_.steps,
                                  .timeline = timeline_,
                                  .varies = recipe_.varies(),
                                  .flops_per_token = flops_per_token,
                                  .peak_flops = peak_flops(),
                                  .is_terminal = isatty(STDOUT_FILENO) == 1});
}

void RunLead::run() {
  int failures = 0;
  const auto may_fail = [&](const std::exception& error) {
    if (!change_ || ++failures > most_regroupings) return false;
    std::cerr << "note: " << error.what() << "; the run gathers its processes again" << std::endl;
    return true;
  };
  while (true) {
    Part part;
    try {
      if (!take_part(part)) return;
      if (!play(part)) break;
      failures = 0;
    } catch (const runtime::ClusterError& error) {
      if (!may_fail(error)) throw;
    }
  }
  if (!last_) return;
  export_run(prepared_, arena_, timeline_, last_->record());
  console_->finished(*last_);
  if (!has_steps_left()) return;
  const int signal = signals_->received();
  throw StoppedBySignal(signal, "stopped by " + signal_name(signal) + " after step " +
                                    std::to_string(last_->record().step()) + " of " +
                                    std::to_string(recipe_.steps) + "; " + folder_.goes_on());
}

/// With what is missing in it of the run. Of a run that has begun, a disk without room is waited for, as by the
/// process that led it before.
std::unique_ptr<runtime::JournalWriter> RunLead::open_journal(const Part& part) const {
  std::unique_ptr<runtime::JournalWriter> journal;
  const auto try_once = [&] {
    try {
      if (!journal) {
        journal = std::make_unique<runtime::JournalWriter>(
            folder_.path() / "journal", part.start.history, std::string(name_of(recipe_.arithmetic)));
      }
    } catch (const runtime::JournalFull& error) {
      if (life_->is_first()) throw;
      return std::string(error.what());
    }
    if (journal->append(part.mandate.missing)) return std::string();
    if (!journal->lacks_room()) throw runtime::JournalError(journal->error());
    return journal->error();
  };
  for (bool waits = false;; waits = true) {
    const std::string why = try_once();
    if (why.empty() && waits) raise_alarm("the journal goes on");
    if (why.empty()) return journal;
    if (!waits) raise_alarm("the journal waits: " + why);
    if (const int signal = signals_->received()) {
      throw StoppedBySignal(signal, "stopped by " + signal_name(signal) + " while the journal waited for room");
    }
    if (leadership_ && !leadership_->lease().loss().empty()) {
      throw Fenced("this process was about to lead the run: " + leadership_->lease().loss());
    }
    std::this_thread::sleep_for(journal_interval);
  }
}

std::unique_ptr<actors::RunStorage> RunLead::storage_of(Part& part) const {
  auto storage = std::make_unique<actors::RunStorage>();
  storage->journal = open_journal(part);
  if (runtime::Leadership* const leadership = leadership_.get()) {
    storage->commits = {[=](const wire::JournalEntry& entry) { return leadership->append(entry); },
                        [=] { return leadership->error(); }};
  }
  const config::Run& run = setup_.run.run;
  storage->checkpoints = {folder_.path() / "checkpoints", run.checkpoint().every(), run.checkpoint().keep(),
                          folder_.path() / "units"};
  part.start.from.term = storage->journal->term();
  return storage;
}

std::shared_ptr<actors::Company> RunLead::company_of(kernels::ThreadPool& pool,
                                                     const std::vector<std::string>& fired) {
  const auto batches = [this](uint64_t step) { return prepared_.data.step(timeline_.at(step)); };
  const config::Run& run = setup_.run.run;
  auto company = std::make_shared<actors::Company>(recipe_, setup_.plan, arena_, pool, batches, 0,
                                                   device_of(run.cluster()));
  settle(*company, run, std::filesystem::absolute(folder_.path()));
  company->failpoints.set(prepared_.failpoints, fired);
  company->failpoints.strike = strike_process;
  if (run.train().unit_hashes()) company->record_units();
  company->glass = runtime::Glass::create(std::filesystem::absolute(folder_.path()));
  if (!company->glass->note().empty()) std::cout << "note: " << company->glass->note() << "\n";
  return company;
}

/// True: the run goes on with other processes.
bool RunLead::play(Part& part) {
  if (!signals_) signals_.emplace();  // before the first thread
  auto storage = storage_of(part);
  const std::filesystem::path events = folder_.path() / "events";
  const auto fired = prepared_.failpoints.empty() ? std::vector<std::string>() : fired_failpoints(events);
  storage->events = std::make_unique<runtime::EventLog>(events);
  kernels::ThreadPool pool(setup_.plan.threads);
  const auto company = company_of(pool, fired);
  company->deadlines.times.told(part.gathered.nodes ? std::max(part.gathered.nodes->usual_step(), usual_step_)
                                                    : usual_step_);
  // Also while what follows is taken down. In a run of one nobody would lead on.
  const auto hang_watch = part.gathered.nodes ? end_if_hung(*company) : tell_if_hung(*company);
  std::unique_ptr<Leader> leader;
  if (part.gathered.nodes) {
    leader = std::make_unique<Leader>(
        Leader::Args{.gathering = std::move(part.gathered.nodes),
                     .setup = setup_,
                     .company = company,
                     .run_folder = std::filesystem::absolute(folder_.path()).string(),
                     .hands_out_state = part.hands_out_state,
                     .takes_over = part.gathered.takes_over,
                     .term = leadership_ ? leadership_->term().term : 0,
                     .moves = part.is_moving ? &part.moves : nullptr,
                     .has_its_blocks = [this] { holds_its_part(); }});
    life_->has_processes(setup_.plan.processes);
  }
  held_.clear();
  holds_its_part();
  const bool goes_on = train(part, company, leader.get(), std::move(storage));
  usual_step_ = company->deadlines.times.typical();
  if (goes_on) return true;
  leader.reset();
  children_.reset();
  for (const std::string& text : company->failpoints.unfired()) {
    std::cout << "note: failpoint " << text << " was not reached\n";
  }
  return false;
}

/// Under the plan that the run goes on by.
void RunLead::holds_its_part() {
  wire::HeldPart part;
  part.set_processes(std::max(1, setup_.plan.processes));
  part.set_buddy_stride(setup_.plan.buddy_stride);
  const bool is_known = std::any_of(held_.begin(), held_.end(), [&](const wire::HeldPart& held) {
    return held.processes() == part.processes() && held.buddy_stride() == part.buddy_stride();
  });
  if (!is_known) held_.push_back(std::move(part));
}

bool RunLead::train(Part& part, const std::shared_ptr<actors::Company>& company, Leader* leader,
                    std::unique_ptr<actors::RunStorage> storage) {
  const config::Run& run = setup_.run.run;
  open_console();
  try {
    actors::Troupe troupe({.company = company,
                           .options = {.hash_every = run.train().hash_every(),
                                       .eval_every = run.train().eval_every(),
                                       .checkpoint_every = run.checkpoint().every()},
                           .bias = part.start.bias,
                           .from = part.start.from,
                           .storage = std::move(storage),
                           .documents = prepared_.data.heldout,
                           .hands_out_state = part.hands_out_state,
                           .actors = leader ? &leader->actors() : nullptr});
    std::optional<Leader::Watch> watch;
    if (leader) {
      watch.emplace(*leader, troupe, "; " + folder_.goes_on());
    }
    const StopOnLoss by_lease(leadership_.get(), [&](const std::string& how) {
      if (leader) leader->abandon();
      company->happened(Leader::event_of(wire::Event::PROCESS_FENCED, "this process leads no more: " + how));
      troupe.give_up(how);
    });
    tell_beginning(part, *company);
    const StopOnSignal stop(*signals_, troupe, leader);
    troupe.run({.step_done = [&](const wire::StepDone& done) { step_done(done, leader); },
                .evaluated =
                    [&](const wire::Evaluation& evaluation) {
                      add_metrics(folder_, evaluation);
                      console_->evaluated(evaluation);
                    },
                .alarm = raise_alarm,
                .happened = [&](const wire::Event& event) { console_->happened(event); }});
    if (leader && has_steps_left()) change_ = leader->change();
    if (change_) {
      leader->go_on();
      return true;
    }
    if (leadership_ && last_) {
      end_everywhere(*leadership_, *leader, "step " + std::to_string(last_->record().step()) + " of " +
                                                std::to_string(recipe_.steps));
    }
  } catch (const actors::RunError& error) {
    if (leadership_ && !leadership_->lease().loss().empty()) {
      throw Fenced("this process led the run in term " + std::to_string(leadership_->term().term) +
                   " and does no more: " + leadership_->lease().loss());
    }
    if (leader && !leader->stopped_without().empty()) stopped_while_waiting(*leader);
    if (leadership_ && !leader->has_lost_state()) end_in_failure(*leadership_, error.what());
    if (leader && leader->has_lost_state()) throw BeginAgain(error.what());
    throw;
  }
  return false;
}

/// The model's folder is left: what the missing process held of the last step is not here.
void RunLead::stopped_while_waiting(Leader& leader) {
  const int signal = signals_->received();
  const std::string text = "stopped by " + signal_name(signal) + " while nobody was there for " +
                           leader.stopped_without();
  if (leadership_) end_everywhere(*leadership_, leader, text);
  throw StoppedBySignal(signal, text + "; " + folder_.goes_on());
}

void RunLead::tell_beginning(const Part& part, actors::Company& company) {
  const Mandate& mandate = part.mandate;
  if (!mandate.loss.empty()) {
    wire::Event lost = Leader::event_of(wire::Event::PROCESS_LOST, mandate.loss);
    lost.set_unix_us(mandate.loss_us);
    company.happened(lost);
    company.happened(Leader::event_of(wire::Event::PROCESS_JOINED,
                                      "process 0 (pid " + std::to_string(::getpid()) +
                                          ") leads in its place"));
    if (company.has_others() && !part.gathered.takes_over && !part.is_moving && company.plan.redundancy > 0) {
      company.happened(Leader::event_of(wire::Event::STATE_LOST, mandate.loss));
    }
  }
  if (part.is_moving) tell_change(part, company);
  const std::string where = where_it_computes(company);
  if (where != std::exchange(told_where_, where)) std::cout << where + "\n" << std::flush;
}

/// What the change has cost, as training goes on.
void RunLead::tell_change(const Part& part, actors::Company& company) {
  wire::Event event = Leader::event_of(wire::Event::PLAN_CHANGED, "");
  wire::PlanChange& change = *event.mutable_plan_change();
  change.set_processes(setup_.plan.processes);
  change.set_moved_blocks(part.moves.moved);
  change.set_stayed_blocks(part.moves.stayed);
  change.set_moved_bytes(part.moves.moved_bytes);
  if (change_) {
    change.set_paused_seconds(std::chrono::duration<double>(Clock::now() - last_done_).count());
  }
  event.set_step(part.start.from.record.step() + 1);
  event.set_text(describe(change, event.step()));
  change_.reset();
  company.happened(event);
}

void RunLead::step_done(const wire::StepDone& done, Leader* leader) {
  last_ = done;
  last_done_ = Clock::now();
  life_->step_done();
  const actors::StepNumbers numbers = timeline_.at(done.record().step());
  add_metrics(folder_, done, numbers, prepared_.data.sequences_by_source(numbers));
  console_->step_done(done);
  if (leader) leader->step_done(done);
  if (console_->is_reader_gone()) signals_->request(SIGPIPE);
}


}  // namespace troupe::deploy
