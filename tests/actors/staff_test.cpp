// Laws 3, 4 and 6: whatever ends in a step, the run ends with the hash of a quiet one.
#include "actors/staff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::HasSubstr;
using wire::Event;

class Recovery : public testing::Test {
 protected:
  Recovery() {
    recipe_ = small_recipe();
    recipe_.shape.layers = 4;
    recipe_.shape.dense_layers = 1;
    recipe_.micro_batches = 4;
    recipe_.steps = 4;
    wanted_ = play_plainly(recipe_, learnable()).hash;
  }

  BatchSource learnable() const {
    return [recipe = recipe_](uint64_t step) { return learnable_batches(recipe, step); };
  }
  Outcome play(const Layout& layout, const Trouble& trouble) const {
    return play_with_actors(recipe_, layout, learnable(), {}, trouble);
  }
  std::vector<int> counts_of(const Layout& layout) const {
    std::vector<int> counts(roles, 0);
    for (const auto& address : cast_of(plan_of(layout, recipe_), recipe_.shape)) {
      ++counts[static_cast<size_t>(address.role)];
    }
    counts[static_cast<size_t>(Role::journal)] = 1;
    return counts;
  }

  Recipe recipe_;
  std::string wanted_;
  const Layout layouts_[3] = {{1, 1, 1, 1, 1, 1}, {2, 2, 2, 2, 2, 2}, {4, 2, 1, 3, 1, 3}};
};

TEST_F(Recovery, AKillOfAnyRoleInAnyPhaseChangesNoBit) {
  for (const Layout& layout : layouts_) {
    const auto counts = counts_of(layout);
    for (int r = 0; r < roles; ++r) {
      const auto role = static_cast<Role>(r);
      const int count = counts[static_cast<size_t>(r)];
      for (const Phase phase : phases_of(role)) {
        // Nothing is evaluated or saved here; the small run hashes its last state alone.
        if (count == 0 || phase == Phase::checkpoint) continue;
        const bool is_last = role == Role::journal && phase == Phase::apply;
        const Failpoint f{.role = role, .index = count - 1, .step = is_last ? 4u : 2u, .phase = phase};

        const Outcome outcome = play(layout, {{f}});

        EXPECT_EQ(outcome.hash, wanted_) << to_string(f) << " in " << to_string(layout)
                                         << outcome.error;
        EXPECT_EQ(outcome.count(Event::FAILPOINT), 1) << to_string(f);
        EXPECT_EQ(outcome.count(Event::ACTOR_RESTARTED), 1) << to_string(f);
      }
    }
  }
}

TEST_F(Recovery, RandomKillsAndExceptionsChangeNoBit) {
  int fired = 0;
  for (uint64_t seed = 0; seed < 120; ++seed) {
    const Layout& layout = layouts_[seed % 3];
    auto counts = counts_of(layout);
    auto failpoints = random_failpoints({.seed = seed, .count = 5, .steps = 4, .counts = counts,
                                         .checkpoint_every = 0});
    std::erase_if(failpoints, [](const Failpoint& f) { return f.phase == Phase::checkpoint; });
    for (size_t i = 0; i < failpoints.size(); i += 2) failpoints[i].fault = Fault::fail;

    const Outcome outcome = play(layout, {failpoints});

    ASSERT_EQ(outcome.hash, wanted_) << "seed " << seed << ": " << outcome.error;
    fired += outcome.count(Event::FAILPOINT);
  }
  EXPECT_GT(fired, 400);
}

TEST_F(Recovery, ADelayedAnswerChangesNothing) {
  for (const Role role : {Role::stage, Role::attention_shard, Role::router, Role::expert_shard,
                          Role::optimizer_shard}) {
    for (const Phase phase : phases_of(role)) {
      const Failpoint f{.fault = Fault::delay, .role = role, .step = 2, .phase = phase,
                        .delay = std::chrono::milliseconds(5)};
      const Outcome outcome = play(layouts_[1], {{f}});

      EXPECT_EQ(outcome.hash, wanted_) << to_string(f) << outcome.error;
      EXPECT_EQ(outcome.count(Event::FAILPOINT), 1) << to_string(f);
      EXPECT_EQ(outcome.count(Event::EPOCH_BEGAN), 0) << to_string(f);
    }
  }
}

TEST_F(Recovery, AnAnswerThatNeverComesIsNoticedByTheDeadline) {
  for (const Role role : {Role::stage, Role::router, Role::expert_shard, Role::optimizer_shard}) {
    const Phase phase = phases_of(role).back();
    const Failpoint f{.fault = Fault::drop, .role = role, .step = 2, .phase = phase};

    const Outcome outcome = play(layouts_[1], {{f}, std::chrono::milliseconds(400)});

    EXPECT_EQ(outcome.hash, wanted_) << to_string(f) << outcome.error;
    ASSERT_GE(outcome.count(Event::EPOCH_BEGAN), 1) << to_string(f);
  }
}

// Supervision law: an actor that dies again and again ends the run with its name, and none hangs.
TEST_F(Recovery, AStepThatFailsEveryTimeIsGivenUp) {
  const BatchSource broken = [this](uint64_t step) {
    auto batches = learnable_batches(recipe_, step);
    if (step == 3) kernels::values<int32_t>(batches[0].inputs.view)[1] = -7;
    return batches;
  };

  const Outcome outcome = play_with_actors(recipe_, layouts_[1], broken);

  EXPECT_THAT(outcome.error, HasSubstr("step 3 was given up after 20 new beginnings"));
  EXPECT_THAT(outcome.error, HasSubstr("stage/0.0.0"));
  EXPECT_EQ(outcome.steps.size(), 2u);
}

TEST_F(Recovery, NothingIsLeftBehindByThoseWhoDied) {
  const auto failpoints = random_failpoints({.seed = 5, .count = 12, .steps = 4,
                                             .counts = counts_of(layouts_[1]), .checkpoint_every = 0});
  play(layouts_[1], {failpoints});

  EXPECT_EQ(kernels::buffer_use().live_bytes, 0);
}

}  // namespace
}  // namespace troupe::tests
