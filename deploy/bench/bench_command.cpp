#include "deploy/bench/bench_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <nlohmann/json.hpp>
#include <thread>

#include "actors/launch.h"
#include "actors/train/plain_loop.h"
#include "config/parameters.h"
#include "config/plan/describe.h"
#include "config/plan/memory.h"
#include "config/validate.h"
#include "deploy/bench/bench_recompute.h"
#include "deploy/bench/bench_restart.h"
#include "deploy/bench/kernels/bench_kernels.h"
#include "deploy/bench/median.h"
#include "deploy/options/device_option.h"
#include "deploy/options/set_option.h"
#include "deploy/process/machine.h"
#include "deploy/process/memory_use.h"
#include "deploy/train/training_data.h"
#include "kernels/cuda/device/device.h"
#include "kernels/profile.h"
#include "kernels/random.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string run;
  std::vector<std::string> settings;
  int64_t steps = 8;
  int rounds = 5;
  std::vector<int> threads;       // empty: 1 and every core
  std::string device = "cpu";
  std::vector<std::string> ways;  // empty: all of way_names
  bool is_json = false;
  bool is_random = false;

  bool wants(const std::string& way) const {
    return ways.empty() || std::find(ways.begin(), ways.end(), way) != ways.end();
  }
};

const std::vector<std::string> way_names{"plain", "single", "planned"};

constexpr int64_t first_profiled_step = 3;  // memory is taken, and kernels are loaded, when they are first used

constexpr const char* step_help = R"(Example:
  troupe bench step config/runs/pretrain_tiny.textproto

Plays the same steps from the same state as a plain loop, with one actor of each kind (single),
and as planned, in turn; prints medians. The hashes of all must be equal. Memory is what is resident
at most, beside what state, gradients, activations and scratch need by their shapes.)";

constexpr const char* operators_help = R"(Example:
  troupe bench operators config/runs/pretrain_tiny.textproto

Plays steps as a plain loop and prints each operator's share of the threads' time, and of the GPU's.)";

/// Time of the wall's clock, and of all threads of the process together: on a busy machine the
/// second tells more, but threads that look for work count as well.
struct Clock {
  double seconds = 0;
  double cpu_seconds = 0;
  static Clock now() {
    timespec cpu{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const auto wall = std::chrono::steady_clock::now().time_since_epoch();
    return {std::chrono::duration<double>(wall).count(),
            static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec)};
  }
};

/// One way to play the steps, on some threads.
struct Way {
  std::string name;
  config::Plan plan;
  bool is_plain;
  config::MemoryEstimate memory;  // what it should take
  std::vector<double> seconds = {};  // of single steps, the first of a round left out
  std::vector<double> cpu_seconds = {};
  int64_t resident_bytes = 0;  // at most
  int64_t buffer_bytes = 0;    // in use at most, the state's too
  std::string hash = {};

  void add(const Clock& begin, const Clock& end) {
    seconds.push_back(end.seconds - begin.seconds);
    cpu_seconds.push_back(end.cpu_seconds - begin.cpu_seconds);
  }
};

/// One actor of each kind.
config::Plan single(config::Plan plan, const actors::Recipe& recipe) {
  int micro_batches = 0;
  for (const auto& dealt : plan.micro_batches) micro_batches += static_cast<int>(dealt.size());
  plan.pipeline = plan.data = plan.expert = plan.expert_replicas = plan.attention = plan.optimizer_shards = 1;
  plan.stages = {{0, static_cast<int>(recipe.shape.layers), 0, 0}};
  plan.experts = {{0, static_cast<int>(recipe.shape.experts)}};
  plan.micro_batches = {{}};
  for (int m = 0; m < micro_batches; ++m) plan.micro_batches[0].push_back(m);
  config::place(plan);
  return plan;
}

/// Tokens of no meaning, the same in every step.
std::vector<actors::MicroBatch> random_batches(const actors::Recipe& recipe) {
  const int64_t width = recipe.sequence_rows + 1;
  std::vector<actors::MicroBatch> batches;
  uint64_t number = 0;
  for (int64_t m = 0; m < recipe.micro_batches; ++m) {
    std::vector<int32_t> tokens(static_cast<size_t>(recipe.sequences * width));
    for (int32_t& token : tokens) {
      token = static_cast<int32_t>(
          kernels::random_below({recipe.seed, kernels::Purpose::test, 0, number++},
                                static_cast<uint64_t>(recipe.shape.vocabulary)));
    }
    batches.push_back(actors::make_micro_batch(tokens, recipe.sequences));
  }
  return batches;
}

class StepBench {
 public:
  explicit StepBench(const Options& options) : options_(options) {
    run_ = config::load_run(options.run, options.settings);
    set_device(options.device, *run_.run.mutable_cluster());
    model_ = config::model_of(run_);
    config::validate(model_);
    config::validate(run_, model_);
    if (!options.is_random) {
      config::validate_files(run_);
      data_ = read_training_data(run_, model_.model);
    }
    recipe_.emplace(actors::make_recipe(run_.run, runtime::model_shape(model_.model)));
    recipe_->steps = options.steps;
    timeline_.emplace(*recipe_);
    if (device_of(options.device) == kernels::Device::cuda) kernels::cuda::open();
    if (options.is_random) random_ = random_batches(*recipe_);
  }

  void compare() {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    std::vector<Way> ways;
    for (const int threads : threads_to_try(cores)) {
      config::LoadedRun run = run_;
      run.run.mutable_cluster()->set_threads(threads);
      config::Plan plan = config::make_plan({.run = run, .model = model_, .cores = cores});
      const std::string on = fmt::format(", {} thread{}", threads, threads > 1 ? "s" : "");
      const auto add = [&](const char* way, const char* name, config::Plan its, bool is_plain) {
        if (!options_.wants(way)) return;
        const auto memory = config::estimate_processes(
            {.run = run, .model = model_, .cores = cores}, plan);
        ways.push_back({name + on, std::move(its), is_plain, memory.at(0)});
      };
      add("plain", "plain loop", plan, true);
      add("single", "one actor of each", single(plan, *recipe_), false);
      add("planned", "actors as planned", plan, false);
    }
    arena_.reset();
    forget_resident_peak();
    idle_bytes_ = resident_bytes();
    for (int round = 0; round < options_.rounds; ++round) {
      for (Way& way : ways) {
        arena_.reset();  // before there is another
        forget_resident_peak();
        kernels::forget_peak();
        way.is_plain ? play_plainly(way) : play_with_actors(way);
        way.resident_bytes = std::max(way.resident_bytes, resident_peak_bytes());
        way.buffer_bytes = std::max(way.buffer_bytes, kernels::buffer_use().peak_bytes);
      }
    }
    print(ways);
  }

  /// Where the threads of the plain loop spend their time.
  void profile_operators() {
    const int threads = options_.threads.empty() ? 1 : options_.threads.front();
    config::LoadedRun run = run_;
    run.run.mutable_cluster()->set_threads(threads);
    Way way{"", config::make_plan({.run = run, .model = model_, .cores = threads}), true, {}};
    const auto about_to = [](int64_t step) { kernels::set_profiling(step >= first_profiled_step); };
    kernels::take_profile();
    if (device_of(options_.device) == kernels::Device::cuda) {
      // With actors, which leave the state on the GPU.
      way.plan = single(way.plan, *recipe_);
      play_with_actors(way, about_to);
    } else {
      play_plainly(way, about_to);
    }
    kernels::set_profiling(false);
    print(kernels::take_profile(), threads);
  }

 private:
  std::vector<int> threads_to_try(int cores) const {
    if (!options_.threads.empty()) return options_.threads;
    return cores > 1 ? std::vector<int>{1, cores} : std::vector<int>{1};
  }

  /// State 0 in memory that no block has been applied in.
  runtime::StateArena& fresh_arena() {
    arena_ = std::make_unique<runtime::StateArena>(kernels::parameters(recipe_->shape),
                                                   actors::state_format(*recipe_));
    if (device_of(options_.device) == kernels::Device::cpu) arena_->expect(runtime::BlockUse::all);
    runtime::initialise(*arena_, recipe_->seed, recipe_->shape.init_std);
    return *arena_;
  }

  std::vector<actors::MicroBatch> batches(uint64_t step) const {
    return options_.is_random ? random_ : data_.step(timeline_->at(step));
  }

  void play_plainly(Way& way, const std::function<void(int64_t next)>& about_to = {}) {
    kernels::ThreadPool pool(way.plan.threads);
    kernels::Queue queue(pool, device_of(options_.device), recipe_->arithmetic);
    actors::PlainLoop loop(fresh_arena(), *recipe_, queue);
    for (int64_t step = 1; step <= recipe_->steps; ++step) {
      if (about_to) about_to(step);
      const Clock begin = Clock::now();
      loop.step(batches(static_cast<uint64_t>(step)));
      if (step > 1) way.add(begin, Clock::now());
    }
    way.hash = runtime::to_hex(loop.hash());
  }

  void play_with_actors(Way& way, const std::function<void(int64_t next)>& about_to = {}) {
    kernels::ThreadPool pool(way.plan.threads);
    auto company = std::make_shared<actors::Company>(
        *recipe_, way.plan, fresh_arena(), pool,
        [this](uint64_t step) { return batches(step); }, 0,
        device_of(options_.device));
    actors::RoutingBias bias;
    bias.values.assign(static_cast<size_t>(recipe_->moe_layers() * recipe_->shape.experts), 0.0f);
    actors::Troupe troupe({.company = company,
                           .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = 0},
                           .bias = bias, .from = {}, .storage = nullptr, .documents = {}});
    Clock begin = Clock::now();
    troupe.run({.step_done =
                    [&](const wire::StepDone& done) {
                      const auto step = static_cast<int64_t>(done.record().step());
                      // The last step is hashed too, which the plain loop's is not.
                      const Clock end = Clock::now();
                      if (step > 1 && step < recipe_->steps) way.add(begin, end);
                      begin = end;
                      if (about_to) about_to(step + 1);
                      if (done.has_hash()) way.hash = runtime::to_hex(done.hash());
                    },
                .evaluated = {}, .alarm = {}});
  }

  void print(const std::vector<Way>& ways) {
    const double tokens = static_cast<double>(timeline_->at(1).tokens());
    const double flops = config::train_flops_per_token(
        model_.model, static_cast<int32_t>(recipe_->sequence_rows));
    nlohmann::ordered_json json{{"run", run_.name}, {"steps", recipe_->steps},
                                {"rounds", options_.rounds}, {"device", options_.device},
                                {"flop_per_token", flops}, {"idle_mib", mebibytes(idle_bytes_)}};
    bool is_equal = true;
    double plain = 0, plain_cpu = 0;
    std::string text = fmt::format("{:<30} {:>9} {:>9} {:>9} {:>9} {:>10} {:>12} {:>8} {:>10}\n",
                                   "", "ms a step", "to plain", "CPU ms", "to plain", "tokens/s",
                                   "of GEMM rate", "MiB", "to needed");
    for (const Way& way : ways) {
      const double seconds = median(way.seconds), cpu = median(way.cpu_seconds);
      if (way.is_plain) plain = seconds;
      if (way.is_plain) plain_cpu = cpu;
      is_equal = is_equal && way.hash == ways.front().hash;
      const double rate = tokens / seconds;
      const double gemm_rate = measure_peak_flops(way.plan.threads, device_of(options_.device),
                                                  recipe_->arithmetic);
      const double share = rate * flops / gemm_rate;
      const bool has_plain = plain > 0;
      const auto to_plain = [&](double value, double of_plain) {
        return has_plain ? fmt::format("{:.3f}", value / of_plain) : "-";
      };
      text += fmt::format("{:<30} {:>9.1f} {:>9} {:>9.1f} {:>9} {:>10.0f} {:>11.1f}% {:>8.0f} {:>10.2f}\n",
                          way.name, 1e3 * seconds, to_plain(seconds, plain), 1e3 * cpu,
                          to_plain(cpu, plain_cpu), rate, 100 * share,
                          mebibytes(way.resident_bytes),
                          static_cast<double>(way.resident_bytes) / way.memory.needed());
      nlohmann::ordered_json entry{{"name", way.name}, {"threads", way.plan.threads},
                                   {"step_ms", 1e3 * seconds}};
      if (has_plain) entry["to_plain"] = seconds / plain;
      entry["step_cpu_ms"] = 1e3 * cpu;
      if (has_plain) entry["cpu_to_plain"] = cpu / plain_cpu;
      entry["tokens_per_second"] = rate;
      entry["gemm_gflops"] = 1e-9 * gemm_rate;
      entry["share_of_gemm_rate"] = share;
      entry["resident_mib"] = mebibytes(way.resident_bytes);
      entry["buffer_mib"] = mebibytes(way.buffer_bytes);
      entry["needed_mib"] = way.memory.needed() / 0x1p20;
      entry["to_needed"] = static_cast<double>(way.resident_bytes) / way.memory.needed();
      entry["hash"] = way.hash;
      json["ways"].push_back(std::move(entry));
    }
    json["hashes_equal"] = is_equal;
    for (const Way& way : ways) {
      text += fmt::format("needed by {}: {}; in buffers at once {:.1f} MiB\n", way.name,
                          config::describe_needed(way.memory), mebibytes(way.buffer_bytes));
    }
    text += fmt::format("in every MiB: {:.0f} of the program and its data before a step\n",
                        mebibytes(idle_bytes_));
    text += fmt::format("hashes equal: {}\n", is_equal ? "yes" : "NO");
    std::cout << (options_.is_json ? json.dump(2) + "\n" : text) << std::flush;
    if (!is_equal) throw std::runtime_error("the hashes of the ways to play differ");
  }

  void print(const std::map<std::string, kernels::OperatorTime>& operators, int threads) {
    double total = 0;
    for (const auto& [name, time] : operators) total += time.seconds;
    std::vector<std::pair<double, std::string>> sorted;
    for (const auto& [name, time] : operators) sorted.emplace_back(-time.seconds, name);
    std::sort(sorted.begin(), sorted.end());
    nlohmann::ordered_json json{{"run", run_.name}, {"steps", recipe_->steps},
                                {"threads", threads}};
    const auto steps = static_cast<double>(recipe_->steps - (first_profiled_step - 1));
    std::string text = fmt::format("{:<28} {:>8} {:>10} {:>10}\n", "operator", "share",
                                   "ms a step", "parts");
    for (const auto& [seconds, name] : sorted) {
      const int64_t parts = operators.at(name).parts / static_cast<int64_t>(steps);
      text += fmt::format("{:<28} {:>7.2f}% {:>10.2f} {:>10}\n", name, -100 * seconds / total,
                          -1e3 * seconds / steps, parts);
      json["operators"].push_back({{"name", name}, {"share", -seconds / total},
                                   {"step_ms", -1e3 * seconds / steps}, {"parts", parts}});
    }
    std::cout << (options_.is_json ? json.dump(2) + "\n" : text) << std::flush;
  }

  static double mebibytes(int64_t bytes) { return static_cast<double>(bytes) / 0x1p20; }

  const Options options_;
  config::LoadedRun run_;
  config::LoadedModel model_;
  TrainingData data_;
  std::vector<actors::MicroBatch> random_;
  std::optional<actors::Recipe> recipe_;
  std::optional<actors::Timeline> timeline_;
  std::unique_ptr<runtime::StateArena> arena_;
  int64_t idle_bytes_ = 0;  // resident before anything is played
};

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure");
  bench->require_subcommand(1);
  add_bench_recompute(*bench);
  add_bench_restart(*bench);
  add_bench_kernels(*bench);
  auto options = std::make_shared<Options>();
  CLI::App* step = bench->add_subcommand("step", "Training steps of actors and of the plain loop");
  CLI::App* operators = bench->add_subcommand("operators", "The share of each operator in a step");
  for (CLI::App* command : {step, operators}) {
    command->add_option("RUN", options->run, "run file")->required();
    add_set_option(*command, options->settings, "set a field of the run");
    command->add_option("--steps", options->steps, "a round")->check(CLI::Range(3, 10000))
        ->capture_default_str();
    command->add_flag("--json", options->is_json, "one JSON object");
    command->add_flag("--random", options->is_random, "tokens in the place of the run's data");
    add_device_option(*command, options->device);
  }
  step->add_option("--threads", options->threads, "that compute; default 1 and every core")
      ->check(CLI::Range(1, 1024))->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  step->add_option("--ways", options->ways, "to play: plain, single, planned; default all")
      ->check(CLI::IsMember(way_names))->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  operators->add_option("--threads", options->threads, "that compute; default 1")
      ->check(CLI::Range(1, 1024))->expected(1);
  step->add_option("--rounds", options->rounds, "in turn")->check(CLI::Range(1, 1000))
      ->capture_default_str();
  step->footer(step_help);
  operators->footer(operators_help);
  step->callback([options] { StepBench(*options).compare(); });
  operators->callback([options] { StepBench(*options).profile_operators(); });
}

}  // namespace troupe::deploy
