#include "deploy/bench/bench_recompute.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>

#include "actors/train/plain_loop.h"
#include "actors/train/timeline.h"
#include "config/plan/memory.h"
#include "deploy/bench/median.h"
#include "deploy/options/set_option.h"
#include "deploy/train/run_setup.h"
#include "deploy/train/training_data.h"
#include "kernels/buffer.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string run;
  std::vector<std::string> settings;
  int rounds = 5;
};

constexpr const char* help = R"(Example:
  troupe bench recompute config/runs/pretrain_tiny.textproto

Plays steps on one thread as a plain loop, with and without train.recompute in turn, and prints the
memory of one micro-batch that each takes at most beside what recomputation should save. Both end
with the same hash.)";

/// One way to play: what it took.
struct Way {
  bool recompute;
  int64_t peak_bytes = 0;  ///< of buffers beyond the state's
  std::vector<double> seconds = {};
  std::string hash = {};
};

void play(const Options& options, const TrainingData& data, actors::Recipe recipe, Way& way) {
  recipe.recompute = way.recompute;
  runtime::StateArena arena(kernels::parameters(recipe.shape), actors::state_format(recipe));
  runtime::initialise(arena, recipe.seed, recipe.shape.init_std);
  kernels::ThreadPool pool(1);
  kernels::Queue queue(pool);
  actors::PlainLoop loop(arena, recipe, queue);
  const actors::Timeline timeline(recipe);
  for (int step = 1; step <= options.rounds; ++step) {
    const auto batches = data.step(timeline.at(static_cast<uint64_t>(step)));
    kernels::forget_peak();
    const int64_t before = kernels::buffer_use().live_bytes;
    const auto begin = std::chrono::steady_clock::now();
    loop.step(batches);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    way.seconds.push_back(took.count());
    way.peak_bytes = std::max(way.peak_bytes, kernels::buffer_use().peak_bytes - before);
  }
  way.hash = runtime::to_hex(loop.hash());
}

void measure(const Options& options) {
  const RunSetup setup = set_up_run(config::load_run(options.run, options.settings));
  const TrainingData data = read_training_data(setup.run, setup.model.model);
  const auto recipe =
      actors::make_recipe(setup.run.run, runtime::model_shape(setup.model.model));
  Way kept{.recompute = false}, recomputed{.recompute = true};
  play(options, data, recipe, kept);
  play(options, data, recipe, recomputed);
  int64_t computed = 0;
  for (const auto& stage : setup.plan.stages) {
    computed += config::recomputed_bytes(setup.plan_args(), stage);
  }
  const auto mebibytes = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  std::cout << fmt::format("{:<12} {:>14} {:>10}  {}\n", "", "MiB at most", "ms a step", "hash");
  for (Way* way : {&kept, &recomputed}) {
    std::cout << fmt::format("{:<12} {:>14.2f} {:>10.1f}  {}\n",
                             way->recompute ? "recomputed" : "kept", mebibytes(way->peak_bytes),
                             1e3 * median(way->seconds), way->hash);
  }
  std::cout << fmt::format("saved {:.2f} MiB of activations, computed {:.2f} MiB; time {:.3f} x\n",
                           mebibytes(kept.peak_bytes - recomputed.peak_bytes),
                           mebibytes(computed), median(recomputed.seconds) / median(kept.seconds));
  if (kept.hash != recomputed.hash) throw std::runtime_error("the two hashes differ");
}

}  // namespace

void add_bench_recompute(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("recompute", "What train.recompute saves and costs");
  command->add_option("RUN", options->run, "run file")->required();
  add_set_option(*command, options->settings, "set a field of the run");
  command->add_option("--rounds", options->rounds, "steps of each")->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->footer(help);
  command->callback([options] { measure(*options); });
}

}  // namespace troupe::deploy
