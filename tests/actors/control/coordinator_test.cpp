// The coordinator among actors that answer when the test wants it: late ones, and one that is gone.
#include "actors/control/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <future>

#include "actors/launch.h"
#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using namespace std::chrono_literals;

class CoordinatorTest : public testing::Test {
 protected:
  CoordinatorTest() {
    company_->directory.put({Role::journal}, journal());
    for (int process = 0; process < 2; ++process) put_crew(process);
  }
  /// Who keeps a promise keeps itself.
  ~CoordinatorTest() override {
    for (const caf::actor& actor : spawned_) end(actor);
    company_->directory.clear();
  }

  void end(const caf::actor& actor) {
    std::promise<void> ended;
    runtime::on_end(actor, [&](const caf::error&) { ended.set_value(); });
    caf::anon_send_exit(actor, caf::exit_reason::kill);
    ended.get_future().wait();
  }
  /// Nothing is committed.
  caf::actor journal() {
    return spawned_.emplace_back(system_.spawn([](caf::event_based_actor*) -> caf::behavior {
      return {[](history_atom) -> caf::result<Pb<wire::StepRecord>, bool> {
        return {Pb<wire::StepRecord>(wire::StepRecord()), false};
      }};
    }));
  }
  /// Restores a state when it is told so, the oldest that it was asked for.
  void put_crew(int process) {
    const auto crew = system_.spawn([this](caf::event_based_actor* self) -> caf::behavior {
      const auto asked = std::make_shared<std::deque<caf::typed_response_promise<void>>>();
      return {[this, self, asked](restore_atom, const Pb<wire::StepRecord>&, int32_t) {
                ++restores_;
                restores_.notify_all();
                return asked->emplace_back(self->make_response_promise<void>());
              },
              [asked](resume_atom) {
                asked->front().deliver();
                asked->pop_front();
              }};
    });
    spawned_.push_back(crew);
    company_->directory.put({Role::crew, 0, 0, process}, crew);
  }
  /// Says which epoch it was to begin first, and fails, or never answers.
  void put_trainer(bool fails) {
    const auto trainer = system_.spawn([this, fails](caf::event_based_actor* self) -> caf::behavior {
      const auto asked = std::make_shared<std::deque<caf::typed_response_promise<Pb<wire::StepReport>>>>();
      return {[this, fails, self, asked](begin_atom, const Pb<wire::BeginStep>& begin) {
        auto& promise = asked->emplace_back(self->make_response_promise<Pb<wire::StepReport>>());
        if (fails) promise.deliver(runtime::make_error(runtime::Errc::stale_epoch, "of another epoch"));
        uint64_t none = 0;
        first_begun_.compare_exchange_strong(none, begin->epoch().n());
        ++begins_;
        begins_.notify_all();
        return promise;
      }};
    });
    spawned_.push_back(trainer);
    company_->directory.put({Role::trainer}, trainer);
  }
  void start() {
    coordinator_ = spawned_.emplace_back(caf::actor_cast<caf::actor>(system_.spawn<CoordinatorActor>(
        company_, Address{Role::coordinator}, nullptr,
        CoordinatorActor::Setup{
            .options = {.hash_every = 1, .eval_every = 0, .checkpoint_every = 0},
            .bias = {},
            .from = std::make_shared<const ResumePoint>(),
            .watcher = caf::actor_cast<caf::actor>(watcher_)})));
    runtime::tell(coordinator_, run_atom_v);
  }
  static void wait_for(const std::atomic<int>& count, int wanted) {
    for (int found = count; found < wanted; found = count) count.wait(found);
  }
  void crews_answer() {
    for (const auto& [address, crew] : company_->directory.of(Role::crew)) {
      runtime::tell(crew, resume_atom_v);
    }
  }
  /// The error that ends the run; empty: none within that time.
  std::string end_within(std::chrono::milliseconds time) {
    std::string text;
    watcher_->receive([&](const caf::error& error) { text = runtime::describe(error); },
                      caf::after(time) >> [] {});
    return text;
  }

  Recipe recipe_ = small_recipe();
  kernels::ThreadPool pool_{1};
  runtime::StateArena arena_{kernels::parameters(recipe_.shape)};
  const std::shared_ptr<Company> company_ =
      std::make_shared<Company>(recipe_, plan_of({1, 1, 1, 1, 1, 1}, recipe_), arena_, pool_, BatchSource());
  SystemConfig config_;
  caf::actor_system system_{config_};
  caf::scoped_actor watcher_{system_};
  std::vector<caf::actor> spawned_;
  caf::actor coordinator_;
  std::atomic<int> restores_{0}, begins_{0};
  std::atomic<uint64_t> first_begun_{0};  // its epoch
};

// Law 3: epochs only go up. What an attempt has asked for and gets when it was given up begins nothing.
TEST_F(CoordinatorTest, AStateThatIsRestoredForAnAttemptThatWasGivenUpBeginsNothing) {
  put_trainer(false);
  company_->newcomers.add(1);
  start();
  wait_for(restores_, 2);
  runtime::tell(coordinator_, restarted_atom_v, static_cast<uint8_t>(Role::crew), std::string("again"));
  wait_for(restores_, 4);

  crews_answer();  // to the attempt before
  crews_answer();
  wait_for(begins_, 1);

  EXPECT_EQ(first_begun_, 2u);
  EXPECT_EQ(company_->epochs, 2u);
}

// Whoever takes a lost process's place may come in a day: beginnings without it would be none.
TEST_F(CoordinatorTest, WaitsForAProcessThatIsGone) {
  put_trainer(true);
  end(company_->directory.find({Role::crew, 0, 0, 1}));
  start();

  EXPECT_EQ(end_within(1s), "") << "20 beginnings take far less";
  EXPECT_EQ(begins_, 1);
  put_crew(1);

  EXPECT_THAT(end_within(60s), testing::HasSubstr("was given up after 20 new beginnings"));
  EXPECT_EQ(begins_, 1 + most_recoveries);
}

}  // namespace
}  // namespace troupe::tests
