#include "deploy/train/run_setup.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>

#include "config/plan/memory.h"
#include "config/validate.h"
#include "deploy/process/machine.h"
#include "runtime/checkpoint/arena_weights.h"

namespace troupe::deploy {

RunSetup plan_run(config::LoadedRun run) {
  RunSetup setup{std::move(run), {}, {}, {},
                 std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  if (setup.run.run.model().has_huggingface()) {
    setup.weights = runtime::open_huggingface(setup.run.run.model().huggingface());
    for (const std::string& note : setup.weights->notes) std::cerr << "note: " << note << "\n";
    setup.model = config::with_changes({setup.weights->model, {}}, setup.run);
  } else {
    setup.model = config::model_of(setup.run);
  }
  config::validate(setup.model);
  config::validate(setup.run, setup.model);
  setup.plan = config::make_plan(setup.plan_args());
  return setup;
}

RunSetup set_up_run(config::LoadedRun run) {
  RunSetup setup = plan_run(std::move(run));
  config::validate_available(setup.run);
  config::validate_files(setup.run);
  return setup;
}

void check_memory(const RunSetup& setup) {
  config::check_memory(setup.plan_args(), setup.plan, memory_bytes());
}

actors::RoutingBias initial_state(const RunSetup& setup, const actors::Recipe& recipe,
                                  runtime::StateArena& arena) {
  actors::RoutingBias bias;
  if (setup.weights) {
    bias.values = runtime::load_weights(*setup.weights->weights, arena);
  } else {
    bias.values.assign(static_cast<size_t>(recipe.moe_layers() * recipe.shape.experts), 0.0f);
    runtime::initialise(arena, recipe.seed, recipe.shape.init_std);
  }
  return bias;
}

namespace {

/// Steps that are to be recorded, both included.
struct TracedSteps {
  int64_t first, last;
  explicit TracedSteps(const config::Cluster::Trace& trace)
      : first(int64_t{trace.after_steps()} + 1), last(int64_t{trace.after_steps()} + trace.steps()) {}
};

std::unique_ptr<runtime::TraceRecorder> recorder_of(const actors::Company& company, const config::Run& run,
                                                    const std::filesystem::path& run_folder) {
  const config::Cluster::Trace& trace = run.cluster().trace();
  if (trace.steps() == 0) return nullptr;
  const config::Plan& plan = company.plan;
  runtime::TraceOrigin origin;
  origin.process = company.process;
  origin.processes = company.placement.processes();
  origin.workers = plan.data;
  origin.ranks = config::ranks_of(plan.schedule, plan.pipeline);
  origin.stages = plan.pipeline;
  origin.schedule = config::Parallel::Schedule_Name(plan.schedule);
  runtime::set_clock(origin);
  const auto folder = trace.has_folder() ? std::filesystem::path(trace.folder()) : run_folder / "trace";
  const auto file_of = [&](int process) { return folder / ("process-" + std::to_string(process) + ".json"); };
  std::vector<std::filesystem::path> others;  // of processes that this part of the run does not have
  for (int process = origin.processes; company.is_first() && std::filesystem::exists(file_of(process)); ++process) {
    others.push_back(file_of(process));
  }
  const TracedSteps steps(trace);
  return std::make_unique<runtime::TraceRecorder>(runtime::TraceRecorder::Args{
      .first_step = steps.first,
      .last_step = steps.last,
      .file = file_of(company.process),
      .origin = std::move(origin),
      .others = std::move(others)});
}

}  // namespace

void settle(actors::Company& company, const config::Run& run, const std::filesystem::path& run_folder) {
  company.deadlines.step =
      std::chrono::milliseconds(static_cast<int64_t>(1000 * run.cluster().step_deadline()));
  company.verifies_state = run.train().verify_state() && run.train().hash_every() > 0;
  company.trace = recorder_of(company, run, run_folder);
}

std::string trace_objection(const config::Run& run, uint64_t state) {
  const config::Cluster::Trace& trace = run.cluster().trace();
  const TracedSteps steps(trace);
  if (trace.steps() == 0 || static_cast<int64_t>(state) < steps.last) return "";
  return "nothing is recorded: cluster.trace wants steps " + std::to_string(steps.first) + " to " +
         std::to_string(steps.last) + ", the run goes on behind step " + std::to_string(state) +
         " (cluster.trace.after_steps)";
}

}  // namespace troupe::deploy
