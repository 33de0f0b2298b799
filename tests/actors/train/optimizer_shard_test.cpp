#include "actors/train/optimizer_shard.h"

#include <gtest/gtest.h>

#include <latch>

#include "actors/launch.h"
#include "kernels/profile.h"
#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;

/// A shard that has all blocks, at state 0, and whoever asks it.
class OptimizerShardTest : public testing::Test {
 protected:
  OptimizerShardTest() {
    runtime::initialise(arena_, recipe_.seed, recipe_.shape.init_std);
    commit_.set_step(1);
    commit_.set_scale_bits(recipe_.scale_bits);
  }
  ~OptimizerShardTest() override {
    runtime::stop_actor(caf::actor_cast<caf::actor>(shard_), caf::exit_reason::user_shutdown);
    self_->wait_for(shard_);
    company_->drain();
  }

  auto asks_to_commit() {
    return self_->request(shard_, caf::infinite, commit_atom_v, Pb<wire::StepRecord>(commit_), false);
  }
  /// Of an epoch; the error that it is refused with.
  caf::error begin(uint64_t n) {
    wire::BeginStep step;
    step.mutable_epoch()->set_n(n);
    step.set_step(1);
    caf::error refusal;
    self_->request(shard_, caf::infinite, begin_atom_v, Pb<wire::BeginStep>(step))
        .receive([] {}, [&](const caf::error& error) { refusal = error; });
    return refusal;
  }
  /// It has taken all that it was told before: an answer of another epoch needs no lane.
  void has_taken_all() { EXPECT_TRUE(begin(1)); }

  const Recipe recipe_ = small_recipe();
  kernels::ThreadPool pool_{1};
  runtime::StateArena arena_{kernels::parameters(recipe_.shape)};
  std::shared_ptr<Company> company_ = std::make_shared<Company>(
      recipe_, plan_of({1, 1, 1, 1, 1, 1}, recipe_), arena_, pool_, BatchSource());
  const Address address_{Role::optimizer_shard};
  kernels::Queue& lane_ = company_->lane(address_);
  wire::StepRecord commit_;  // of a step that is skipped: its state is a copy
  SystemConfig config_;
  caf::actor_system system_{config_};
  caf::scoped_actor self_{system_};
  OptimizerShard shard_ = system_.spawn<OptimizerShardActor>(company_, address_, nullptr);
};

// Commit law: an earlier life of the shard has begun the step, and this one has none of its sums.
TEST_F(OptimizerShardTest, AStepThatHasNotBegunHereIsNotPrepared) {
  wire::BeginStep step;
  step.set_step(1);
  step.mutable_epoch()->set_n(2);
  const auto prepare = [&] {
    caf::error refusal;
    self_->request(shard_, caf::infinite, prepare_atom_v, Pb<wire::BeginStep>(step))
        .receive([](const Pb<wire::Prepared>&) {}, [&](const caf::error& error) { refusal = error; });
    return refusal;
  };

  EXPECT_EQ(prepare(), runtime::Errc::stale_epoch);
  ASSERT_FALSE(begin(2));
  EXPECT_FALSE(prepare());
  step.mutable_epoch()->set_n(3);
  EXPECT_EQ(prepare(), runtime::Errc::stale_epoch) << "of an epoch to come";
}

// What is written twice is written while others may read it already.
TEST_F(OptimizerShardTest, ACommitThatIsToldAgainBeforeItIsAppliedIsAppliedOnce) {
  ASSERT_FALSE(begin(2));
  std::latch both_are_told(1), may_be_noticed(1), may_be_applied(1);
  lane_.run(1, [&](int64_t) { may_be_noticed.wait(); });
  auto first = asks_to_commit(), again = asks_to_commit();
  has_taken_all();
  lane_.then([&](std::exception_ptr) { both_are_told.count_down(); });
  lane_.run(1, [&](int64_t) { may_be_applied.wait(); });
  may_be_noticed.count_down();
  both_are_told.wait();
  has_taken_all();
  kernels::set_profiling(true);
  may_be_applied.count_down();

  int answers = 0;
  for (auto* request : {&first, &again}) {
    request->receive([&](const Pb<wire::Applied>& applied) { answers += applied->step() == 1; },
                     [&](const caf::error& error) { ADD_FAILURE() << runtime::describe(error); });
  }
  kernels::set_profiling(false);
  EXPECT_EQ(answers, 2);
  const auto blocks = static_cast<int64_t>(arena_.blocks().size());
  EXPECT_EQ(kernels::take_profile()["copy"].parts, 3 * blocks) << "weights and two moments of each";
}

}  // namespace
}  // namespace troupe::tests
