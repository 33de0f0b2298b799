// How long it takes until an actor that has ended has been started again.
#include "deploy/bench/bench_restart.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <latch>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <semaphore>

#include "actors/launch.h"
#include "deploy/options/set_option.h"
#include "deploy/train/run_setup.h"
#include "runtime/model_shape.h"

namespace troupe::deploy {
namespace {

using actors::Address;
using actors::Role;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string run;
  std::vector<std::string> settings;
  int kills = 2000;
  bool is_json = false;
};

constexpr const char* help = R"(Example:
  troupe bench restart config/runs/pretrain_tiny.textproto

Kills idle actors of the run under their supervisors, each role in turn, one after the other, with
cells and event log as in a run. Measured are the times from the kill, and from the moment that the
actor's end is known, until its new life is where others look for it.)";

struct Times {
  std::vector<double> from_end, from_kill;  // microseconds
};

struct Percentiles {
  double p50, p99, most;
};
Percentiles percentiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {values[n / 2], values[std::min(n - 1, n * 99 / 100)], values.back()};
}

class RestartBench {
 public:
  explicit RestartBench(const Options& options)
      : options_(options),
        setup_(set_up_run(config::load_run(options.run, options.settings))),
        recipe_(actors::make_recipe(setup_.run.run, runtime::model_shape(setup_.model.model))),
        arena_(kernels::parameters(recipe_.shape), actors::state_format(recipe_)),
        pool_(setup_.plan.threads),
        company_(std::make_shared<actors::Company>(recipe_, setup_.plan, arena_, pool_,
                                                   actors::BatchSource())),
        folder_(std::filesystem::temp_directory_path() /
                fmt::format("troupe-bench-{}", ::getpid())) {
    std::filesystem::create_directories(folder_);
    events_ = std::make_unique<runtime::EventLog>(folder_ / "events");
    company_->glass = runtime::Glass::create(folder_.string());
    company_->witness.set([this](const wire::Event& event) { happened(event); });
    start();
  }
  ~RestartBench() {
    runtime::stop_actor(top_, caf::exit_reason::user_shutdown);
    has_ended_.wait();
    company_->drain();
    company_->directory.clear();
    company_->witness.set(nullptr);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void measure() {
    std::map<Role, std::vector<Address>> cast;
    for (const auto& [address, actor] : company_->directory.all()) {
      cast[address.role].push_back(address);
    }
    std::map<Role, Times> times;
    for (int kill = 0; kill < options_.kills;) {
      for (const auto& [role, addresses] : cast) {
        if (kill >= options_.kills) break;
        const size_t turn = static_cast<size_t>(kill++) / cast.size();
        kill_one(addresses[turn % addresses.size()], times[role]);
      }
    }
    print(times);
  }

 private:
  void start() {
    actors::RoutingBias bias;
    bias.values.assign(static_cast<size_t>(recipe_.moe_layers() * recipe_.shape.experts), 0.0f);
    const actors::CoordinatorActor::Setup coordinator{
        .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = 0},
        .bias = std::move(bias),
        .from = std::make_shared<const actors::ResumePoint>(),
        .watcher = caf::actor_cast<caf::actor>(self_)};
    auto keepers = std::make_shared<actors::Keepers>(nullptr, 0);
    staff_ = std::make_unique<actors::Staff>(actors::Staff::Args{
        .company = company_,
        .system = &system_,
        .coordinator = coordinator,
        .keepers = std::move(keepers),
        .has_checkpoints = true,
        .documents = std::make_shared<const std::vector<runtime::HeldOutDocument>>(),
        .intensity = options_.kills});
    top_ = staff_->start();
    runtime::on_end(top_, [this](const caf::error&) { has_ended_.count_down(); });
    runtime::ask(&*self_, caf::actor_cast<runtime::Supervisor>(top_), caf::infinite,
                 runtime::begun_atom_v)
        .receive([] {}, [](const caf::error& error) {
          throw std::runtime_error("the actors were not started: " + runtime::describe(error));
        });
  }

  /// On the supervisor's thread; the new life is in the directory.
  void happened(const wire::Event& event) {
    const auto now = Clock::now();
    events_->append(event);
    if (event.kind() != wire::Event::ACTOR_RESTARTED) return;
    found_ = now;
    is_back_.release();
  }

  void kill_one(const Address& address, Times& times) {
    const caf::actor actor = company_->directory.find(address);
    // What is attached last is called first: before the supervisor is told.
    runtime::on_end(actor, [this](const caf::error&) { ended_ = Clock::now(); });
    const auto killed = Clock::now();
    runtime::stop_actor(actor, caf::exit_reason::kill);
    if (!is_back_.try_acquire_for(std::chrono::seconds(10))) {
      const std::string why = staff_->failure();
      throw std::runtime_error(to_string(address) + " was not started again within 10 s" +
                               (why.empty() ? "" : ": " + why));
    }
    const auto us = [](Clock::duration time) {
      return std::chrono::duration<double, std::micro>(time).count();
    };
    times.from_end.push_back(us(found_ - ended_));
    times.from_kill.push_back(us(found_ - killed));
  }

  void print(const std::map<Role, Times>& times) const {
    nlohmann::ordered_json json{{"run", setup_.run.name}, {"kills", options_.kills}};
    std::string text = fmt::format("{:<18} {:>6} {:>26} {:>26}\n{:<18} {:>6}", "microseconds", "",
                                   "from its end", "from the kill", "role", "kills");
    for (int i = 0; i < 2; ++i) text += fmt::format(" {:>8} {:>8} {:>8}", "p50", "p99", "max");
    Times all;
    const auto add = [&](const std::string& name, const Times& of) {
      const auto [end50, end99, end] = percentiles(of.from_end);
      const auto [kill50, kill99, kill] = percentiles(of.from_kill);
      text += fmt::format("\n{:<18} {:>6} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.1f}",
                          name, of.from_end.size(), end50, end99, end, kill50, kill99, kill);
      return nlohmann::ordered_json{
          {"kills", of.from_end.size()},
          {"from_end_us", {{"p50", end50}, {"p99", end99}, {"max", end}}},
          {"from_kill_us", {{"p50", kill50}, {"p99", kill99}, {"max", kill}}}};
    };
    for (const auto& [role, of] : times) {
      json["roles"][to_string(role)] = add(to_string(role), of);
      all.from_end.insert(all.from_end.end(), of.from_end.begin(), of.from_end.end());
      all.from_kill.insert(all.from_kill.end(), of.from_kill.begin(), of.from_kill.end());
    }
    json["all"] = add("all", all);
    std::cout << (options_.is_json ? json.dump(2) : text) << std::endl;
  }

  const Options options_;
  const RunSetup setup_;
  const actors::Recipe recipe_;
  runtime::StateArena arena_;
  kernels::ThreadPool pool_;
  const std::shared_ptr<actors::Company> company_;
  const std::filesystem::path folder_;
  std::unique_ptr<runtime::EventLog> events_;
  Clock::time_point ended_, found_;  // read when is_back_ says so
  std::counting_semaphore<> is_back_{0};
  std::latch has_ended_{1};
  std::unique_ptr<actors::Staff> staff_;
  actors::SystemConfig config_;
  caf::actor_system system_{config_};
  caf::scoped_actor self_{system_};
  caf::actor top_;
};

}  // namespace

void add_bench_restart(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("restart", "From an actor's end to its next life");
  command->add_option("RUN", options->run, "run file")->required();
  add_set_option(*command, options->settings, "set a field of the run");
  command->add_option("--kills", options->kills, "in all")->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_flag("--json", options->is_json, "one JSON object");
  command->footer(help);
  command->callback([options] { RestartBench(*options).measure(); });
}

}  // namespace troupe::deploy
