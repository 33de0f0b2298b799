// Runs for the actors' tests: a recipe, a plan, and both ways to play them.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/launch.h"
#include "actors/train/plain_loop.h"
#include "runtime/state/hash.h"

namespace troupe::tests {

/// How many actors of each kind play.
struct Layout {
  int threads, pipeline, data, expert, attention, optimizer_shards;
  config::Parallel::Schedule schedule = config::Parallel::ONE_F_ONE_B;
  kernels::Device device = kernels::Device::cpu;
  int expert_replicas = 1;
};

inline Layout with_replicas(Layout layout, int replicas) {
  layout.expert_replicas = replicas;
  return layout;
}

inline std::string to_string(const Layout& l) {
  return "threads " + std::to_string(l.threads) + " pipeline " + std::to_string(l.pipeline) +
         " data " + std::to_string(l.data) + " expert " + std::to_string(l.expert) +
         " attention " + std::to_string(l.attention) + " optimizer " +
         std::to_string(l.optimizer_shards) + " replicas " + std::to_string(l.expert_replicas) + " " +
         config::Parallel::Schedule_Name(l.schedule) + " on " + kernels::to_string(l.device);
}

/// Of the recipe's largest step.
inline int most_micro_batches(const actors::Recipe& recipe) {
  const actors::Timeline timeline(recipe);
  int64_t most = 0;
  for (int64_t step = 1; step <= recipe.steps; ++step) {
    most = std::max(most, timeline.at(static_cast<uint64_t>(step)).micro_batches);
  }
  return static_cast<int>(most);
}

inline config::Plan plan_of(const Layout& l, const actors::Recipe& recipe) {
  config::Plan plan{};
  plan.pipeline = l.pipeline;
  plan.data = l.data;
  plan.expert = l.expert;
  plan.expert_replicas = l.expert_replicas;
  plan.attention = l.attention;
  plan.optimizer_shards = l.optimizer_shards;
  plan.threads = l.threads;
  plan.processes = 1;
  plan.schedule = l.schedule;
  const int layers = static_cast<int>(recipe.shape.layers);
  for (int p = 0; p < l.pipeline; ++p) {
    const int first = layers * p / l.pipeline;
    plan.stages.push_back({first, layers * (p + 1) / l.pipeline - first, 0, 0});
  }
  plan.micro_batches.resize(static_cast<size_t>(l.data));
  for (int m = 0; m < most_micro_batches(recipe); ++m) {
    plan.micro_batches[static_cast<size_t>(m % l.data)].push_back(m);
  }
  const int experts = static_cast<int>(recipe.shape.experts);
  for (int e = 0; e < l.expert; ++e) {
    const int first = experts * e / l.expert;
    plan.experts.push_back({first, experts * (e + 1) / l.expert - first});
  }
  return plan;
}

inline actors::RoutingBias no_bias(const actors::Recipe& recipe) {
  actors::RoutingBias bias;
  bias.values.assign(static_cast<size_t>(recipe.moe_layers() * recipe.shape.experts), 0.0f);
  return bias;
}

/// What a run came to.
struct Outcome {
  std::string hash;
  std::vector<wire::StepDone> steps;
  std::string error;  ///< of a run that ended before its last step
  std::vector<wire::Event> events;

  int count(wire::Event::Kind kind) const {
    return static_cast<int>(std::count_if(events.begin(), events.end(),
                                          [&](const auto& event) { return event.kind() == kind; }));
  }
};

/// What is to fail in a run, and how long actors have for their parts.
struct Trouble {
  std::vector<actors::Failpoint> failpoints;
  std::chrono::milliseconds deadline{std::chrono::minutes(10)};
  std::function<void(actors::Company&)> prepare = {};  ///< called before its actors are there
};

inline Outcome play_with_actors(const actors::Recipe& recipe, const Layout& layout,
                                const actors::BatchSource& batches,
                                const std::function<void(const wire::StepDone&)>& step_done = {},
                                const Trouble& trouble = {}) {
  Outcome outcome;
  kernels::ThreadPool pool(layout.threads);
  runtime::StateArena arena(kernels::parameters(recipe.shape), actors::state_format(recipe));
  runtime::initialise(arena, recipe.seed, recipe.shape.init_std);
  auto company = std::make_shared<actors::Company>(recipe, plan_of(layout, recipe), arena, pool,
                                                   batches, 0, layout.device);
  company->failpoints.set(trouble.failpoints, {});
  company->deadlines.step = trouble.deadline;
  if (trouble.prepare) trouble.prepare(*company);
  actors::Troupe troupe({.company = company,
                         .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = 0},
                         .bias = no_bias(recipe), .from = {}, .storage = nullptr,
                         .documents = {}});
  try {
    troupe.run({.step_done =
                    [&](const wire::StepDone& done) {
                      outcome.steps.push_back(done);
                      if (step_done) step_done(done);
                    },
                .evaluated = {}, .alarm = {},
                .happened = [&](const wire::Event& event) { outcome.events.push_back(event); }});
    outcome.hash = runtime::to_hex(outcome.steps.back().hash());
  } catch (const actors::RunError& error) {
    outcome.error = error.what();
  }
  return outcome;
}

inline Outcome play_plainly(const actors::Recipe& recipe, const actors::BatchSource& batches,
                            int threads = 2,
                            kernels::Device device = kernels::Device::cpu) {
  Outcome outcome;
  kernels::ThreadPool pool(threads);
  kernels::Queue queue(pool, device, recipe.arithmetic);
  runtime::StateArena arena(kernels::parameters(recipe.shape), actors::state_format(recipe));
  runtime::initialise(arena, recipe.seed, recipe.shape.init_std);
  actors::PlainLoop loop(arena, recipe, queue);
  for (int64_t step = 1; step <= recipe.steps; ++step) {
    *outcome.steps.emplace_back().mutable_record() =
        loop.step(batches(static_cast<uint64_t>(step)));
  }
  outcome.hash = runtime::to_hex(loop.hash());
  return outcome;
}

}  // namespace troupe::tests
