// What the control plane of a step costs: begin, the loads of 256 experts, the commit with the new bias,
// by one message a process over CAF, in 4 processes of 16 actors each; against round trips over pipes
// between two processes of the same run, and, beside it, the journal's fsync.
//
//   control_bench [ROUNDS]
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <vector>

#include "actors/launch.h"
#include "actors/messages/fan_out.h"
#include "actors/messages/front_desk.h"
#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using Clock = std::chrono::steady_clock;

constexpr int processes = 4, actors_each = 16, experts = 256, layers = 8;
constexpr std::chrono::seconds deadline{10};

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

/// One of the 16: answers each phase, its share of the loads in the second.
class Worker : public caf::event_based_actor {
 public:
  Worker(caf::actor_config& config, int number) : caf::event_based_actor(config), number_(number) {}

  caf::behavior make_behavior() override {
    return {
        [](begin_atom, const Pb<wire::BeginStep>&) {},
        [this](report_atom, uint64_t step) {
          wire::StepReport report;
          report.set_step(step);
          for (int layer = number_; layer < layers; layer += actors_each) {
            wire::UnitRouting& unit = *report.add_routing();
            unit.set_layer(layer);
            for (int e = 0; e < experts; ++e) unit.add_rows(e);
          }
          return Pb<wire::StepReport>(std::move(report));
        },
        [](commit_atom, const Pb<wire::StepRecord>& record, bool) {
          wire::Applied applied;
          applied.set_step(record->step());
          return Pb<wire::Applied>(std::move(applied));
        },
    };
  }

 private:
  const int number_;
};

/// Of a process: asks its 16 and answers when all have.
class Chief : public caf::event_based_actor {
 public:
  explicit Chief(caf::actor_config& config) : caf::event_based_actor(config) {
    for (int i = 0; i < actors_each; ++i) cast_.emplace_back(Address{Role::stage, 0, 0, i}, spawn<Worker>(i));
  }

  caf::behavior make_behavior() override {
    return {
        [this](begin_atom, const Pb<wire::BeginStep>& step) {
          const auto promise = promised(make_response_promise());
          ask_all<void>(this, cast_, deadline, [](size_t) {},
                        {[promise] { promise->deliver(caf::unit); },
                         [promise](const caf::error& e) { promise->deliver(e); }},
                        begin_atom_v, step);
          return *promise;
        },
        [this](report_atom, uint64_t step) {
          const auto promise = promised(make_response_promise());
          const auto sum = std::make_shared<wire::StepReport>();
          ask_all<Pb<wire::StepReport>>(
              this, cast_, deadline, [](size_t) {},
              {[sum](const Pb<wire::StepReport>& part) { sum->MergeFrom(*part); },
               [promise, sum] { promise->deliver(Pb<wire::StepReport>(*sum)); },
               [promise](const caf::error& e) { promise->deliver(e); }},
              report_atom_v, step);
          return *promise;
        },
        [this](commit_atom, const Pb<wire::StepRecord>& record, bool hashes) {
          const auto promise = promised(make_response_promise());
          ask_all<Pb<wire::Applied>>(
              this, cast_, deadline, [](size_t) {},
              {[](const Pb<wire::Applied>&) {},
               [promise] { promise->deliver(Pb<wire::Applied>(wire::Applied())); },
               [promise](const caf::error& e) { promise->deliver(e); }},
              commit_atom_v, record, hashes);
          return *promise;
        },
    };
  }
  DeadlineWatch& deadline_watch() { return watch_; }

 private:
  DeadlineWatch watch_{this};
  Cast cast_;
};

/// Asks the chiefs for the four phases of a step, as the trainer and the coordinator of a run do.
class Leader : public caf::event_based_actor {
 public:
  Leader(caf::actor_config& config, Cast crews, int rounds, std::promise<std::vector<double>>* told)
      : caf::event_based_actor(config), crews_(std::move(crews)), rounds_(rounds), told_(told) {
    begin_.mutable_bias()->Resize(layers * experts, 0.5f);
    record_.mutable_bias()->Resize(layers * experts, 0.5f);
  }

  caf::behavior make_behavior() override {
    step();
    return {[](begin_atom, int) {}};
  }
  DeadlineWatch& deadline_watch() { return watch_; }

 private:
  void step() {
    if (static_cast<int>(times_.size()) == rounds_) {
      told_->set_value(std::move(times_));
      return quit();
    }
    start_ = Clock::now();
    ask<void>([this] { report(); }, begin_atom_v, Pb<wire::BeginStep>(begin_));
  }
  void report() {
    ask<Pb<wire::StepReport>>([this] { clear(); }, report_atom_v, uint64_t{1});
  }
  void clear() {
    ask<void>([this] { commit(); }, begin_atom_v, Pb<wire::BeginStep>(wire::BeginStep()));
  }
  void commit() {
    const auto done = [this] {
      times_.push_back(microseconds(Clock::now() - start_));
      step();
    };
    ask<Pb<wire::Applied>>(done, commit_atom_v, Pb<wire::StepRecord>(record_), false);
  }

  template <class Answer, class... Ts>
  void ask(std::function<void()> next, const Ts&... values) {
    const auto failed = [](const caf::error& error) {
      std::fprintf(stderr, "%s\n", caf::to_string(error).c_str());
      std::abort();
    };
    if constexpr (std::is_void_v<Answer>) {
      ask_all<void>(this, crews_, deadline, [](size_t) {}, {std::move(next), failed}, values...);
    } else {
      ask_all<Answer>(this, crews_, deadline, [](size_t) {}, {[](const Answer&) {}, std::move(next), failed}, values...);
    }
  }

  DeadlineWatch watch_{this};
  const Cast crews_;
  const int rounds_;
  std::promise<std::vector<double>>* const told_;
  wire::BeginStep begin_;
  wire::StepRecord record_;
  Clock::time_point start_;
  std::vector<double> times_;
};

/// What the desk needs to know of a run.
struct Stage {
  Stage() : recipe(small_recipe()), arena(kernels::parameters(recipe.shape)), pool(1) {
    config::Plan plan = plan_of({1, 1, 1, 1, 1, processes}, recipe);
    plan.processes = processes;
    config::place(plan);
    company = std::make_shared<Company>(recipe, plan, arena, pool, BatchSource());
  }
  Recipe recipe;
  runtime::StateArena arena;
  kernels::ThreadPool pool;
  std::shared_ptr<Company> company;
};

/// Another process: until its pipe closes.
[[noreturn]] void be_process(int number, int port, int until) {
  SystemConfig config("control bench");
  caf::actor_system system(config);
  {
    const auto desk = reach_front_desk(system, "127.0.0.1", static_cast<uint16_t>(port));
    const caf::actor chief = system.spawn<Chief>();
    runtime::tell(desk, joined_atom_v, int32_t{number}, chief);
    char byte = 0;
    static_cast<void>(!::read(until, &byte, 1));
  }
  ::_exit(0);  // its actors end with it
}

/// Median microseconds of a byte there and back over pipes.
double pipe_round_trip(int rounds) {
  int there[2], back[2];
  if (::pipe(there) != 0 || ::pipe(back) != 0) std::abort();
  const pid_t child = ::fork();
  char byte = 0;
  if (child == 0) {
    ::close(there[1]);
    while (::read(there[0], &byte, 1) == 1 && ::write(back[1], &byte, 1) == 1) {
    }
    ::_exit(0);
  }
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = Clock::now();
    if (::write(there[1], &byte, 1) != 1 || ::read(back[0], &byte, 1) != 1) std::abort();
    times.push_back(microseconds(Clock::now() - begin));
  }
  for (const int file : {there[0], there[1], back[0], back[1]}) ::close(file);
  ::waitpid(child, nullptr, 0);
  return quantile(times, 0.5);
}

/// Median microseconds of a record's fsync in the folder.
double fsync_time(int rounds) {
  const std::string path = "control_bench.journal";
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  std::vector<double> times;
  const std::string record(12'000, 'x');
  for (int i = 0; i < rounds; ++i) {
    const auto begin = Clock::now();
    if (::write(file, record.data(), record.size()) < 0 || ::fdatasync(file) != 0) std::abort();
    times.push_back(microseconds(Clock::now() - begin));
  }
  ::close(file);
  std::filesystem::remove(path);
  return quantile(times, 0.5);
}

int run(int rounds) {
  // Children before CAF's threads; each waits for the desk's port.
  std::vector<int> ports, lives;
  std::vector<pid_t> children;
  for (int p = 1; p < processes; ++p) {
    int port[2], life[2];
    if (::pipe(port) != 0 || ::pipe(life) != 0) std::abort();
    const pid_t child = ::fork();
    if (child == 0) {
      for (const int file : lives) ::close(file);
      ::close(life[1]);
      int number = 0;
      if (::read(port[0], &number, sizeof number) != sizeof number) ::_exit(1);
      register_message_types();
      be_process(p, number, life[0]);
    }
    ports.push_back(port[1]);
    lives.push_back(life[1]);
    children.push_back(child);
  }
  const double round_trip = pipe_round_trip(rounds * 4);
  const double durable = fsync_time(std::min(rounds, 200));
  std::vector<double> times;
  {
    SystemConfig config("control bench");
    caf::actor_system system(config);
    Stage stage;
    FrontDesk desk(system, stage.company, "127.0.0.1");
    const int port = desk.port();
    for (const int file : ports) {
      if (::write(file, &port, sizeof port) != sizeof port) std::abort();
    }
    stage.company->directory.put({Role::crew, 0, 0, 0}, system.spawn<Chief>());
    if (!desk.wait_for_crews(std::chrono::seconds(30))) std::abort();
    const Cast crews = stage.company->directory.of(Role::crew);
    std::promise<std::vector<double>> told;
    system.spawn<Leader>(crews, rounds, &told);
    times = told.get_future().get();
    stage.company->directory.clear();
  }
  const double pipes_later = pipe_round_trip(rounds * 4);
  for (const int file : lives) ::close(file);
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  const double four = 2 * (round_trip + pipes_later);  // four of their mean
  std::printf("a step's four phases, %d processes of %d actors, %d layers of %d experts\n"
              "  control plane   p50 %8.1f us  p90 %8.1f us  p99 %8.1f us\n"
              "  four round trips over pipes %8.1f us; control plane %.2f x of them\n"
              "  fsync of a record           %8.1f us\n",
              processes, actors_each, layers, experts, quantile(times, 0.5), quantile(times, 0.9),
              quantile(times, 0.99), four, quantile(times, 0.5) / four, durable);
  return 0;
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  return troupe::tests::run(argc > 1 ? std::max(10, std::atoi(argv[1])) : 2000);
}
