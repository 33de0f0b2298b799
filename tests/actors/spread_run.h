// A run whose processes are companies of this one: each has an arena, a pool, actors and a data plane
// of its own.
#pragma once

#include "runtime/data_plane/local.h"
#include "tests/actors/run_of.h"

namespace troupe::tests {

using PlaneMaker = std::function<std::unique_ptr<runtime::DataPlane>(runtime::PlaneEvents)>;

struct SpreadArgs {
  Layout layout;
  int processes;
  int redundancy = 0;
  PlaneMaker make_plane = runtime::make_local_plane;
  bool hands_out_state = false;  ///< state 0 is made in the first process alone
  Trouble trouble = {};
  std::set<int> newcomers = {};  ///< have nothing; others have copies of what they are to hold
  std::function<void(actors::Company&)> spoil = {};  ///< of each process, before the first step
  actors::ResumePoint from = {};
};

inline config::Plan spread_plan(const SpreadArgs& args, const actors::Recipe& recipe) {
  config::Plan plan = plan_of(args.layout, recipe);
  plan.processes = args.processes;
  plan.redundancy = args.redundancy;
  plan.optimizer_shards = std::max(1, plan.optimizer_shards / args.processes) * args.processes;
  config::place(plan);
  return plan;
}

/// One process of the run.
struct SpreadProcess {
  SpreadProcess(const SpreadArgs& args, const actors::Recipe& recipe,
                const actors::BatchSource& batches, int number)
      : pool(args.layout.threads),
        arena(kernels::parameters(recipe.shape), actors::state_format(recipe)) {
    company = std::make_shared<actors::Company>(recipe, spread_plan(args, recipe), arena, pool,
                                                batches, number, args.layout.device);
    company->failpoints.set(args.trouble.failpoints, {});
    company->deadlines.step = args.trouble.deadline;
    const bool is_newcomer = args.newcomers.contains(number);
    company->has_state = !is_newcomer && (number == 0 || !args.hands_out_state);
    if (company->has_state) {
      runtime::initialise(arena, recipe.seed, recipe.shape.init_std, [&](int tensor) {
        return args.hands_out_state || company->placement.holds(number, tensor);
      });
    }
    if (args.spoil) args.spoil(*company);
    plane = args.make_plane({.received =
                                 [this](int, runtime::Parcel parcel) {
                                   company->office.received(std::move(parcel));
                                 },
                             .lost = {}});
    company->office.set_plane(plane.get());
  }

  kernels::ThreadPool pool;
  runtime::StateArena arena;
  std::unique_ptr<runtime::DataPlane> plane;
  std::shared_ptr<actors::Company> company;
};

struct SpreadOutcome : Outcome {
  std::vector<runtime::PlaneCounters> counters;  ///< by process
};

inline SpreadOutcome play_spread(const SpreadArgs& args, const actors::Recipe& recipe,
                                 const actors::BatchSource& batches) {
  SpreadOutcome outcome;
  actors::SystemConfig config;
  caf::actor_system system(config);
  std::vector<std::unique_ptr<SpreadProcess>> processes;
  for (int p = 0; p < args.processes; ++p) {
    processes.push_back(std::make_unique<SpreadProcess>(args, recipe, batches, p));
  }
  for (int a = 0; a < args.processes; ++a) {
    for (int b = 0; b < args.processes; ++b) {
      if (a != b) {
        processes[static_cast<size_t>(a)]->plane->connect(
            b, processes[static_cast<size_t>(b)]->plane->address());
      }
    }
  }
  actors::Company& first = *processes[0]->company;
  for (const int process : args.newcomers) first.newcomers.add(process);
  std::mutex mutex;
  std::vector<std::unique_ptr<actors::Outpost>> outposts;
  for (int p = 1; p < args.processes; ++p) {
    const auto& company = processes[static_cast<size_t>(p)]->company;
    outposts.push_back(std::make_unique<actors::Outpost>(actors::Outpost::Args{
        .company = company, .actors = &system,
        .crew_started =
            [&first, p](const caf::actor& crew) {
              first.directory.put({actors::Role::crew, 0, 0, p}, crew);
            },
        .happened = [&](const wire::Event& event) {
          std::lock_guard lock(mutex);
          outcome.events.push_back(event);
        }}));
  }
  {
    actors::Troupe troupe({.company = processes[0]->company,
                           .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = 0},
                           .bias = no_bias(recipe), .from = args.from, .storage = nullptr,
                           .documents = {}, .hands_out_state = args.hands_out_state,
                           .actors = &system});
    for (int p = 1; p < args.processes; ++p) {
      processes[static_cast<size_t>(p)]->company->directory.put(
          {actors::Role::coordinator}, first.directory.find({actors::Role::coordinator}));
    }
    try {
      troupe.run({.step_done =
                      [&](const wire::StepDone& done) { outcome.steps.push_back(done); },
                  .evaluated = {}, .alarm = {},
                  .happened =
                      [&](const wire::Event& event) {
                        std::lock_guard lock(mutex);
                        outcome.events.push_back(event);
                      }});
      outcome.hash = runtime::to_hex(outcome.steps.back().hash());
    } catch (const actors::RunError& error) {
      outcome.error = error.what();
    }
    for (const auto& process : processes) outcome.counters.push_back(process->plane->counters());
  }
  outposts.clear();
  return outcome;
}

}  // namespace troupe::tests
