// Supervision law: every request ends in an answer or an error, also when the actor is gone. Glass
// law: an actor that is stuck can be seen at what it is stuck with.
#include "actors/company_actor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <iostream>
#include <latch>
#include <thread>

#include "actors/launch.h"
#include "actors/model/expert_shard.h"
#include "runtime/telemetry/cell_reader.h"
#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using Clock = std::chrono::steady_clock;
using Report = Pb<wire::StepReport>;

constexpr int rounds = 200;
constexpr std::chrono::milliseconds most_time{5};

/// One stay in a handler.
struct Stay {
  std::latch begun{1}, may_end{1};
};

/// An expert shard that waits in two handlers; then `begin` throws, and `forward` does nothing.
class Probe : public LaneActor<ExpertShard> {
 public:
  Probe(caf::actor_config& config, std::shared_ptr<Company> company, const Address& address,
        runtime::Cell* cell, std::shared_ptr<Stay> stay)
      : LaneActor(config, std::move(company), address, cell), stay_(std::move(stay)) {}

  behavior_type make_behavior() override {
    return {
        seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
        seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
        seen("begin",
             [this](begin_atom, const Pb<wire::BeginStep>&) -> caf::result<void> {
               wait();
               throw std::runtime_error("expert 3 has no weights");
             }),
        seen("forward", [this](forward_atom, const TokenMessage&) { wait(); }),
        seen("backward", [](backward_atom, const TokenMessage&) { throw Killed{}; }),
        seen("dispatched", [](dispatched_atom, const TokenMessage&) {}),
        seen("report", [this](report_atom, uint64_t) {
          return answer_when_done<Report>([] { return wire::StepReport(); });
        })};
  }

 private:
  void wait() {
    stay_->begun.count_down();
    stay_->may_end.wait();
  }
  const std::shared_ptr<Stay> stay_;
};

class CompanyActorTest : public testing::Test {
 protected:
  CompanyActorTest() {
    company_->glass = runtime::Glass::create("");
    stay_ = std::make_shared<Stay>();
  }
  ~CompanyActorTest() override {
    self_->await_all_other_actors_done();
    company_->drain();
    company_->directory.clear();
  }

  template <class Actor, class... Ts>
  ExpertShard start(const Ts&... more) {
    slots_.push_back(std::make_unique<runtime::CellSlot>());
    cells_.push_back(std::make_unique<runtime::Cell>(*slots_.back()));
    return system_.spawn<Actor>(company_, place_, cells_.back().get(), more...);
  }
  /// Returns when the newest actor has dealt with so many messages.
  void wait_for_handled(uint64_t wanted) const {
    while (slots_.back()->handled < wanted) std::this_thread::yield();
  }
  void kill(const ExpertShard& actor) { runtime::stop_actor(actor, caf::exit_reason::kill); }

  template <class... Ts>
  auto send(const ExpertShard& actor, const Ts&... values) {
    return runtime::ask(&*self_, actor, caf::infinite, values...);
  }
  /// The error that a request ends in; how long that took since `begun` is kept.
  template <class... Result, class Request>
  caf::error error_of(Request request, Clock::time_point begun) {
    caf::error out;
    request.receive([](const Result&...) {}, [&](const caf::error& error) { out = error; });
    times_.push_back(Clock::now() - begun);
    return out;
  }
  void expect_quick(const char* what) {
    std::sort(times_.begin(), times_.end());
    const auto us = [](Clock::duration time) {
      return std::chrono::duration<double, std::micro>(time).count();
    };
    const auto median = times_[times_.size() / 2], p99 = times_[times_.size() * 99 / 100];
    std::cout << what << ": median " << us(median) << " us, p99 " << us(p99) << " us\n";
    EXPECT_LE(median, most_time) << what;
  }
  static TokenMessage token(uint64_t step, uint32_t micro_batch, int32_t layer) {
    wire::TokenHeader header;
    header.mutable_id()->set_step(step);
    header.mutable_id()->set_micro_batch(micro_batch);
    header.mutable_id()->set_layer(layer);
    return {std::move(header), {}};
  }

  static constexpr Layout layout{1, 1, 1, 1, 1, 1};
  const Address place_{Role::expert_shard, 0, 0, 0};
  const Recipe recipe_ = small_recipe();
  kernels::ThreadPool pool_{1};
  runtime::StateArena arena_{kernels::parameters(recipe_.shape)};
  std::shared_ptr<Company> company_ =
      std::make_shared<Company>(recipe_, plan_of(layout, recipe_), arena_, pool_, BatchSource());
  std::vector<std::unique_ptr<runtime::CellSlot>> slots_;
  std::vector<std::unique_ptr<runtime::Cell>> cells_;
  SystemConfig config_;
  caf::actor_system system_{config_};
  caf::scoped_actor self_{system_};
  std::shared_ptr<Stay> stay_;
  std::vector<Clock::duration> times_;
};

TEST_F(CompanyActorTest, ARequestToADeadActorEndsAtOnce) {
  for (int round = 0; round < rounds; ++round) {
    const ExpertShard actor = start<ExpertShardActor>();
    std::latch has_ended(1);
    runtime::on_end(actor, [&](const caf::error&) { has_ended.count_down(); });
    kill(actor);
    has_ended.wait();

    const auto begun = Clock::now();
    const caf::error error = error_of<Report>(send(actor, report_atom_v, uint64_t{1}), begun);

    EXPECT_EQ(error, caf::sec::request_receiver_down);
  }
  expect_quick("request to a dead actor");
}

TEST_F(CompanyActorTest, AnAnswerThatWasPromisedEndsWithTheActor) {
  for (int round = 0; round < rounds; ++round) {
    std::latch may_end(1);
    company_->lane(place_).run(1, [&](int64_t) { may_end.wait(); });
    const ExpertShard actor = start<ExpertShardActor>();
    wire::BeginStep step;
    step.set_step(1);
    auto begin = send(actor, begin_atom_v, Pb<wire::BeginStep>(step));
    auto request = send(actor, report_atom_v, uint64_t{1});
    wait_for_handled(2);

    const auto begun = Clock::now();
    kill(actor);
    const caf::error error = error_of<Report>(std::move(request), begun);

    EXPECT_EQ(error, caf::sec::broken_promise);
    EXPECT_EQ(error_of(std::move(begin), begun), caf::sec::broken_promise);
    times_.pop_back();
    may_end.count_down();
    company_->lane(place_).wait();
  }
  expect_quick("promised answer");
}

// Commit law: what an earlier life of the actor had of the step is lost with it.
TEST_F(CompanyActorTest, WhoHasNotBegunAStepDoesNotReportIt) {
  const ExpertShard actor = start<ExpertShardActor>();
  const auto begun = Clock::now();

  const caf::error error = error_of<Report>(send(actor, report_atom_v, uint64_t{3}), begun);

  EXPECT_EQ(error, runtime::Errc::stale_epoch);
  EXPECT_EQ(runtime::describe(error), "step 3 has not begun at expert_shard/0.0.0");
  kill(actor);
}

TEST_F(CompanyActorTest, ARequestInTheMailboxEndsWithTheActor) {
  for (int round = 0; round < rounds; ++round) {
    stay_ = std::make_shared<Stay>();
    const ExpertShard actor = start<Probe>(stay_);
    runtime::tell(actor, forward_atom_v, token(1, 0, 0));
    stay_->begun.wait();
    auto request = send(actor, report_atom_v, uint64_t{1});
    kill(actor);

    const auto begun = Clock::now();  // what CAF cannot interrupt is over
    stay_->may_end.count_down();
    const caf::error error = error_of<Report>(std::move(request), begun);

    EXPECT_EQ(error, caf::sec::request_receiver_down);
  }
  expect_quick("request in the mailbox");
}

TEST_F(CompanyActorTest, ARequestThatIsBeingHandledEndsWithTheExceptionsText) {
  for (int round = 0; round < rounds; ++round) {
    stay_ = std::make_shared<Stay>();
    const ExpertShard actor = start<Probe>(stay_);
    auto request = send(actor, begin_atom_v, Pb<wire::BeginStep>(wire::BeginStep()));
    stay_->begun.wait();

    const auto begun = Clock::now();
    stay_->may_end.count_down();
    const caf::error error = error_of(std::move(request), begun);

    EXPECT_EQ(error, runtime::Errc::kernel_failed);
    EXPECT_EQ(runtime::describe(error), "expert 3 has no weights");
  }
  expect_quick("request that is being handled");
}

TEST_F(CompanyActorTest, AnExceptionIsTheReasonOfTheActorsEnd) {
  stay_->may_end.count_down();
  std::promise<caf::error> failed, killed;
  const ExpertShard first = start<Probe>(stay_), second = start<Probe>(stay_);
  runtime::on_end(first, [&](const caf::error& reason) { failed.set_value(reason); });
  runtime::on_end(second, [&](const caf::error& reason) { killed.set_value(reason); });

  runtime::tell(first, begin_atom_v, Pb<wire::BeginStep>(wire::BeginStep()));
  runtime::tell(second, backward_atom_v, token(1, 0, 0));

  EXPECT_EQ(runtime::describe(failed.get_future().get()), "expert 3 has no weights");
  EXPECT_EQ(killed.get_future().get(), caf::exit_reason::kill);
}

TEST_F(CompanyActorTest, AStuckActorShowsItsMessageAndSinceWhenAndWhatWaits) {
  ASSERT_FALSE(company_->glass->path().empty()) << company_->glass->note();
  runtime::Cell* cell = company_->glass->hire({.role = "expert_shard",
                                               .name = "expert_shard/0.0.0",
                                               .parent = "model",
                                               .incarnation = 1,
                                               .restarts = 0});
  cell->set_state(runtime::CellState::idle);
  const ExpertShard actor = system_.spawn<Probe>(company_, place_, cell, stay_);
  company_->directory.put(place_, caf::actor_cast<caf::actor>(actor), cell);
  const auto post = company_->directory.post(place_);
  const auto look = [&] { return runtime::read_cells(company_->glass->path()).cells.at(0); };
  post->send(caf::make_message(forward_atom_v, token(7, 2, 3)));
  stay_->begun.wait();
  for (size_t i = 0; i < mailbox_credit + 10; ++i) {
    post->send(caf::make_message(forward_atom_v, token(7, 2, 4)));
  }

  const runtime::CellView first = look();
  const runtime::CellView later = look();

  EXPECT_EQ(first.state, runtime::CellState::running);
  EXPECT_EQ(first.message, "forward");
  EXPECT_EQ(first.unit.step, 7u);
  EXPECT_EQ(first.unit.micro_batch, 2);
  EXPECT_EQ(first.unit.layer, 3);
  EXPECT_GT(first.message_ns, 0u);
  EXPECT_GT(later.message_ns, first.message_ns);
  EXPECT_EQ(first.mailbox, mailbox_credit);
  EXPECT_EQ(first.parked, 10);
  kill(actor);
  stay_->may_end.count_down();
}

}  // namespace
}  // namespace troupe::tests
