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

void settle(actors::Company& company, const config::Run& run) {
  company.deadlines.step =
      std::chrono::milliseconds(static_cast<int64_t>(1000 * run.cluster().step_deadline()));
  company.verifies_state = run.train().verify_state() && run.train().hash_every() > 0;
}

}  // namespace troupe::deploy
