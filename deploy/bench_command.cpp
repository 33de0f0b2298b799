#include "deploy/bench_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <nlohmann/json.hpp>
#include <thread>

#include "actors/launch.h"
#include "actors/train/plain_loop.h"
#include "config/parameters.h"
#include "config/validate.h"
#include "deploy/machine.h"
#include "deploy/training_data.h"
#include "kernels/profile.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string run;
  std::vector<std::string> settings;
  int64_t steps = 8;
  int rounds = 5;
  bool is_json = false;
};

constexpr const char* examples = R"(Example:
  troupe bench step config/runs/pretrain_tiny.textproto

Plays the same steps from the same state as a plain loop, with one actor of each kind, and as
planned, in turn; prints medians, and where the plain loop's threads spend their time. The hashes of
all must be equal.)";

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// One way to play the steps, on some threads.
struct Way {
  std::string name;
  config::Plan plan;
  bool is_plain;
  std::vector<double> seconds;  // of single steps, the first of a round left out
  std::string hash;
};

/// One actor of each kind.
config::Plan single(config::Plan plan, const actors::Recipe& recipe) {
  plan.pipeline = plan.data = plan.expert = plan.attention = plan.optimizer_shards = 1;
  plan.stages = {{0, static_cast<int>(recipe.shape.layers), 0, 0}};
  plan.experts = {{0, static_cast<int>(recipe.shape.experts)}};
  plan.micro_batches = {{}};
  for (int m = 0; m < recipe.micro_batches; ++m) plan.micro_batches[0].push_back(m);
  return plan;
}

class StepBench {
 public:
  explicit StepBench(const Options& options) : options_(options) {
    run_ = config::load_run(options.run, options.settings);
    model_ = config::model_of(run_);
    config::validate(model_);
    config::validate(run_, model_);
    config::validate_files(run_);
    data_ = read_training_data(run_, model_.model);
    recipe_.emplace(actors::make_recipe(run_.run, runtime::model_shape(model_.model)));
    recipe_->steps = options.steps;
  }

  void run() {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    std::vector<Way> ways;
    for (const int threads : cores > 1 ? std::vector<int>{1, cores} : std::vector<int>{1}) {
      config::LoadedRun run = run_;
      run.run.mutable_cluster()->set_threads(threads);
      config::Plan plan = config::make_plan({.run = run, .model = model_, .cores = cores});
      const std::string on = fmt::format(", {} thread{}", threads, threads > 1 ? "s" : "");
      ways.push_back({"plain loop" + on, plan, true, {}, {}});
      ways.push_back({"one actor of each" + on, single(plan, *recipe_), false, {}, {}});
      ways.push_back({"actors as planned" + on, plan, false, {}, {}});
    }
    for (int round = 0; round < options_.rounds; ++round) {
      for (Way& way : ways) way.is_plain ? play_plainly(way) : play_with_actors(way);
    }
    print(ways, profile(ways.front()));
  }

 private:
  /// State 0 in memory that no block has been applied in.
  runtime::StateArena& fresh_arena() {
    arena_ = std::make_unique<runtime::StateArena>(kernels::parameters(recipe_->shape));
    runtime::initialise(*arena_, recipe_->seed, recipe_->shape.init_std);
    return *arena_;
  }

  void play_plainly(Way& way) {
    kernels::ThreadPool pool(way.plan.threads);
    kernels::Queue queue(pool);
    actors::PlainLoop loop(fresh_arena(), *recipe_, queue);
    for (int64_t step = 1; step <= recipe_->steps; ++step) {
      const auto begin = std::chrono::steady_clock::now();
      loop.step(data_.step(*recipe_, static_cast<uint64_t>(step)));
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      if (step > 1) way.seconds.push_back(seconds);
    }
    way.hash = runtime::to_hex(loop.hash());
  }

  void play_with_actors(Way& way) {
    kernels::ThreadPool pool(way.plan.threads);
    auto company = std::make_shared<actors::Company>(
        *recipe_, way.plan, fresh_arena(), pool,
        [this](uint64_t step) { return data_.step(*recipe_, step); });
    actors::RoutingBias bias;
    bias.values.assign(static_cast<size_t>(recipe_->moe_layers() * recipe_->shape.experts), 0.0f);
    actors::Troupe troupe({.company = company,
                           .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = 0},
                           .bias = bias, .from = {}, .storage = nullptr, .evaluator = {}});
    troupe.run({.step_done =
                    [&](const wire::StepDone& done) {
                      const auto step = static_cast<int64_t>(done.record().step());
                      // The last step is hashed too, which the plain loop's is not.
                      if (step > 1 && step < recipe_->steps) way.seconds.push_back(done.seconds());
                      if (done.has_hash()) way.hash = runtime::to_hex(done.hash());
                    },
                .evaluated = {}, .alarm = {}});
  }

  std::map<std::string, kernels::OperatorTime> profile(Way way) {
    kernels::take_profile();
    kernels::set_profiling(true);
    play_plainly(way);
    kernels::set_profiling(false);
    return kernels::take_profile();
  }

  void print(const std::vector<Way>& ways,
             const std::map<std::string, kernels::OperatorTime>& operators) {
    const double tokens = static_cast<double>(recipe_->tokens_per_step());
    const double flops = config::train_flops_per_token(
        model_.model, static_cast<int32_t>(recipe_->sequence_rows));
    nlohmann::ordered_json json{{"run", run_.name}, {"steps", recipe_->steps},
                                {"rounds", options_.rounds}};
    bool is_equal = true;
    double plain = 0;
    std::string text = fmt::format("{:<30} {:>9} {:>9} {:>10} {:>12}\n", "", "ms a step",
                                   "to plain", "tokens/s", "of GEMM rate");
    for (const Way& way : ways) {
      const double seconds = median(way.seconds);
      if (way.is_plain) plain = seconds;
      is_equal = is_equal && way.hash == ways.front().hash;
      const double rate = tokens / seconds;
      const double share = rate * flops / measure_peak_flops(way.plan.threads);
      text += fmt::format("{:<30} {:>9.1f} {:>9.3f} {:>10.0f} {:>11.1f}%\n", way.name,
                          1e3 * seconds, seconds / plain, rate, 100 * share);
      json["ways"].push_back({{"name", way.name}, {"step_ms", 1e3 * seconds},
                              {"to_plain", seconds / plain}, {"tokens_per_second", rate},
                              {"share_of_gemm_rate", share}, {"hash", way.hash}});
    }
    json["hashes_equal"] = is_equal;
    text += fmt::format("hashes equal: {}\n\n", is_equal ? "yes" : "NO");
    double total = 0;
    for (const auto& [name, time] : operators) total += time.seconds;
    std::vector<std::pair<double, std::string>> sorted;
    for (const auto& [name, time] : operators) sorted.emplace_back(-time.seconds, name);
    std::sort(sorted.begin(), sorted.end());
    text += "share of each operator (plain loop, 1 thread)\n";
    for (const auto& [seconds, name] : sorted) {
      text += fmt::format("  {:<28} {:>6.2f}%  {:>8.2f} ms a step\n", name, -100 * seconds / total,
                          -1e3 * seconds / static_cast<double>(recipe_->steps));
      json["operators"][name] = -seconds / total;
    }
    std::cout << (options_.is_json ? json.dump(2) + "\n" : text) << std::flush;
    if (!is_equal) throw std::runtime_error("the hashes of the ways to play differ");
  }

  const Options options_;
  config::LoadedRun run_;
  config::LoadedModel model_;
  TrainingData data_;
  std::optional<actors::Recipe> recipe_;
  std::unique_ptr<runtime::StateArena> arena_;
};

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure");
  bench->require_subcommand(1);
  auto options = std::make_shared<Options>();
  CLI::App* step = bench->add_subcommand("step", "Training steps of actors and of the plain loop");
  step->add_option("RUN", options->run, "run file")->required();
  step->add_option("--set", options->settings, "set a field of the run")
      ->take_all()->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  step->add_option("--steps", options->steps, "a round")->check(CLI::Range(3, 10000))
      ->capture_default_str();
  step->add_option("--rounds", options->rounds, "in turn")->check(CLI::Range(1, 1000))
      ->capture_default_str();
  step->add_flag("--json", options->is_json, "one JSON object");
  step->footer(examples);
  step->callback([options] { StepBench(*options).run(); });
}

}  // namespace troupe::deploy
