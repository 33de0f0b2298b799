#include "actors/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "tests/actors/run_of.h"
#include "tests/actors/small_runs.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::HasSubstr;

// Laws 1 and 2: who does what, and how many there are, shows in no bit.
TEST(Launch, EveryLayoutHasThePlainLoopsHash) {
  const Recipe recipe = recipe_of(5, 5);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  const Layout layouts[] = {
      {1, 1, 1, 1, 1, 1}, {2, 1, 1, 1, 1, 2}, {4, 1, 1, 4, 1, 4}, {2, 1, 2, 1, 1, 3},
      {2, 1, 3, 2, 2, 1}, {1, 1, 4, 4, 4, 2}, {2, 2, 1, 1, 1, 1}, {4, 2, 2, 2, 2, 2},
      {2, 2, 4, 3, 1, 4}, {1, 3, 1, 2, 3, 1}, {4, 3, 3, 3, 3, 3}, {2, 3, 2, 4, 2, 2},
      {2, 4, 1, 1, 4, 2}, {4, 4, 2, 3, 1, 1}, {1, 4, 3, 1, 2, 4}, {4, 4, 4, 4, 4, 4}};

  for (const Layout& layout : layouts) {
    const Outcome outcome = play_with_actors(recipe, layout, learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << to_string(layout) << outcome.error;
  }
}

// The order in which ranks work shows in no bit either. Some data workers have too few micro-batches
// for the schedule: their ranks play another.
TEST(Launch, EverySchedulesHashIsThePlainLoops) {
  using config::Parallel;
  for (const int64_t micro_batches : {8, 11}) {
    Recipe recipe = recipe_of(5, micro_batches, 2);
    recipe.shape.mtp_layers = 1;
    const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
    const Layout layouts[] = {
        {1, 1, 1, 1, 1, 1, Parallel::ZERO_BUBBLE}, {2, 3, 2, 2, 2, 2, Parallel::ZERO_BUBBLE},
        {4, 5, 1, 3, 1, 2, Parallel::ZERO_BUBBLE}, {2, 2, 1, 2, 1, 2, Parallel::DUALPIPE},
        {4, 4, 1, 2, 2, 3, Parallel::DUALPIPE},    {2, 2, 2, 3, 2, 1, Parallel::DUALPIPE},
        {2, 2, 1, 1, 1, 2, Parallel::DUALPIPE_V},  {4, 4, 2, 2, 1, 2, Parallel::DUALPIPE_V},
        {2, 4, 3, 4, 2, 2, Parallel::DUALPIPE_V},  {2, 1, 2, 2, 2, 2, Parallel::COMBINED_ONE_F_ONE_B},
        {4, 2, 1, 2, 1, 2, Parallel::COMBINED_ONE_F_ONE_B}};

    for (const Layout& layout : layouts) {
      const Outcome outcome = play_with_actors(recipe, layout, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << to_string(layout) << outcome.error;
    }
  }
}

/// Deals as no policy would: anew in each epoch, also nothing to somebody, and everything to one.
std::function<std::vector<int>(int64_t)> at_random(int workers) {
  return [workers, random = std::make_shared<std::mt19937>(5)](int64_t micro_batches) {
    std::vector<int> shares(static_cast<size_t>(workers), 0);
    for (int64_t m = 0; m < micro_batches; ++m) ++shares[(*random)() % (1 + (*random)() % shares.size())];
    return shares;
  };
}

// Law 2: gradients, losses and loads of micro-batches are exact sums, so who computes which shows in no
// bit. Law 3: that is fixed when an epoch begins, and the next may have it otherwise.
TEST(Launch, WhoTakesWhichMicroBatchShowsInNoBit) {
  using config::Parallel;
  Recipe recipe = recipe_of(5, 11, 4);
  recipe.shape.mtp_layers = 1;
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const Layout& layout :
       {Layout{2, 1, 3, 2, 2, 2}, Layout{2, 3, 2, 2, 3, 2}, Layout{2, 2, 4, 2, 1, 2, Parallel::ZERO_BUBBLE},
        Layout{2, 2, 2, 2, 2, 2, Parallel::DUALPIPE}, Layout{4, 4, 3, 2, 1, 2, Parallel::DUALPIPE_V},
        Layout{2, 1, 2, 2, 2, 2, Parallel::COMBINED_ONE_F_ONE_B}}) {
    const Failpoint kill{.role = Role::stage, .index = 1, .step = 3, .phase = Phase::backward};
    const Trouble trouble{.failpoints = {kill}, .prepare = [&](Company& company) {
                            company.shares = at_random(layout.data);
                          }};

    const Outcome outcome = play_with_actors(recipe, layout, learnable(recipe), {}, trouble);

    EXPECT_EQ(outcome.hash, wanted) << to_string(layout) << outcome.error;
    std::set<std::vector<int>> dealt;
    for (const wire::StepDone& step : outcome.steps) {
      dealt.insert({step.shares().begin(), step.shares().end()});
    }
    EXPECT_GT(dealt.size(), 1u) << to_string(layout);
    EXPECT_EQ(outcome.steps[2].attempts(), 2u) << to_string(layout);
  }
}

TEST(Launch, AKillInAnyScheduleLeavesTheHash) {
  using config::Parallel;
  const Recipe recipe = recipe_of(4, 8, 2);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const auto schedule :
       {Parallel::ZERO_BUBBLE, Parallel::DUALPIPE, Parallel::DUALPIPE_V, Parallel::COMBINED_ONE_F_ONE_B}) {
    for (const Role role : {Role::stage, Role::attention_shard, Role::router, Role::expert_shard}) {
      const Failpoint f{.role = role, .index = 1, .step = 2, .phase = Phase::backward};

      const Outcome outcome =
          play_with_actors(recipe, {2, 4, 1, 2, 1, 2, schedule}, learnable(recipe), {}, {{f}});
      EXPECT_EQ(outcome.hash, wanted) << to_string(f) << outcome.error;
      EXPECT_EQ(outcome.count(wire::Event::ACTOR_RESTARTED), 1) << to_string(f);
    }
  }
}

TEST(Launch, WithAndWithoutMtpAndBalanceLossTheHashIsThePlainLoops) {
  for (const int64_t mtp_layers : {0, 1, 2}) {
    for (const Balance balance : {Balance::none, Balance::sequence, Balance::micro_batch}) {
      Recipe recipe = recipe_of(3, 3, 2);
      recipe.shape.mtp_layers = mtp_layers;
      recipe.balance = balance;

      EXPECT_EQ(play_with_actors(recipe, {2, 2, 2, 2, 1, 2}, learnable(recipe)).hash,
                play_plainly(recipe, learnable(recipe)).hash)
          << mtp_layers << " MTP layers, balance " << static_cast<int>(balance);
    }
  }
}

// The same for every precision, and for what is computed again in backward.
TEST(Launch, PrecisionsHaveTheirHashAndRecomputationShowsInNone) {
  std::set<std::string> hashes;
  for (const auto precision :
       {kernels::Precision::fp32, kernels::Precision::bf16, kernels::Precision::fp8,
        kernels::Precision::fp8_unpromoted}) {
    Recipe recipe = recipe_of(3, 3, 2);
    recipe.precision = precision;
    const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
    hashes.insert(wanted);
    for (const bool recompute : {false, true}) {
      recipe.recompute = recompute;

      EXPECT_EQ(play_plainly(recipe, learnable(recipe)).hash, wanted) << to_string(precision);
      EXPECT_EQ(play_with_actors(recipe, {2, 2, 2, 2, 1, 2}, learnable(recipe)).hash, wanted)
          << to_string(precision) << (recompute ? ", recomputed" : "");
    }
  }
  EXPECT_EQ(hashes.size(), 4u);
}

TEST(Launch, Bf16MomentsAndTheEmaHaveThePlainLoopsHash) {
  Recipe recipe = recipe_of(3, 3);
  recipe.optimizer.set_moments(config::Optimizer::BF16);
  recipe.optimizer.set_ema_decay(0.9);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;

  for (const Layout& layout : {Layout{1, 1, 1, 1, 1, 1}, Layout{4, 2, 2, 2, 2, 3}}) {
    EXPECT_EQ(play_with_actors(recipe, layout, learnable(recipe)).hash, wanted) << to_string(layout);
  }
  // Commit law: the blocks of a shard that dies while it applies are at either state.
  for (const Fault fault : {Fault::kill, Fault::fail}) {
    const Failpoint f{.fault = fault, .role = Role::optimizer_shard, .index = 1, .step = 2,
                      .phase = Phase::apply};
    const Outcome outcome =
        play_with_actors(recipe, {2, 1, 2, 2, 1, 2}, learnable(recipe), {}, {{f}});
    EXPECT_EQ(outcome.hash, wanted) << outcome.error;
    EXPECT_EQ(outcome.count(wire::Event::ACTOR_RESTARTED), 1);
  }
}

// Baselines of MLA and of the experts are the same function of the recipe in any layout.
TEST(Launch, GqaAndDenseModelsHaveThePlainLoopsHash) {
  for (const int64_t kv_heads : {0, 2, 4}) {
    for (const bool is_dense : {false, true}) {
      Recipe recipe = recipe_of(3, 3);
      if (kv_heads > 0) recipe.shape = small_gqa_shape(4, kv_heads);
      recipe.shape.layers = 3;
      recipe.shape.dense_layers = is_dense ? 3 : 1;
      recipe.shape.mtp_layers = is_dense ? 0 : 1;
      recipe.precision = is_dense ? kernels::Precision::fp32 : kernels::Precision::fp8;
      const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
      recipe.recompute = true;

      for (const Layout& layout : {Layout{2, 3, 1, 1, 2, 2}, Layout{4, 2, 3, is_dense ? 1 : 3, 1, 3}}) {
        const Outcome outcome = play_with_actors(recipe, layout, learnable(recipe));
        EXPECT_EQ(outcome.hash, wanted) << kv_heads << " key heads, dense " << is_dense << ", "
                                        << to_string(layout) << outcome.error;
      }
    }
  }
}

TEST(Launch, RecordsSayWhatThePlainLoopsSay) {
  const Recipe recipe = recipe_of(3, 3);
  const Outcome plain = play_plainly(recipe, learnable(recipe));

  const Outcome outcome = play_with_actors(recipe, {2, 1, 2, 2, 1, 2}, learnable(recipe));

  ASSERT_EQ(outcome.steps.size(), plain.steps.size());
  for (size_t i = 0; i < plain.steps.size(); ++i) {
    wire::StepRecord found = outcome.steps[i].record(), wanted = plain.steps[i].record();
    found.clear_epoch();
    wanted.clear_epoch();
    EXPECT_EQ(found.SerializeAsString(), wanted.SerializeAsString()) << "step " << i + 1;
  }
}

// Sum law: a unit out of range repeats the step with s - 8, for this step alone.
TEST(Launch, AUnitOutOfRangeRepeatsTheStepWithSmallerScale) {
  Recipe recipe = recipe_of(3, 2, 2);
  recipe.scale_bits = 62;

  const Outcome outcome = play_with_actors(recipe, {2, 1, 2, 2, 1, 2}, learnable(recipe));

  ASSERT_EQ(outcome.steps.size(), 2u) << outcome.error;
  EXPECT_GT(outcome.steps[0].attempts(), 1u);
  EXPECT_LT(outcome.steps[0].record().scale_bits(), 62);
  EXPECT_EQ(outcome.hash, play_plainly(recipe, learnable(recipe)).hash);
}

TEST(Launch, NanThatStaysStopsTheRunAndNamesTheStep) {
  Recipe recipe = recipe_of(3, 2);
  recipe.shape.init_std = std::numeric_limits<float>::infinity();

  const Outcome outcome = play_with_actors(recipe, {2, 1, 1, 1, 1, 1}, learnable(recipe));

  EXPECT_THAT(outcome.error, HasSubstr("step 1 met NaN or infinity twice; train.on_nan is STOP"));
}

TEST(Launch, NanThatStaysIsSkippedWhereTheRecipeSaysSo) {
  Recipe recipe = recipe_of(3, 2, 2);
  recipe.shape.init_std = std::numeric_limits<float>::infinity();
  recipe.on_nan = OnNan::skip;

  const Outcome outcome = play_with_actors(recipe, {2, 1, 1, 1, 1, 1}, learnable(recipe));

  ASSERT_EQ(outcome.steps.size(), 2u) << outcome.error;
  EXPECT_FALSE(outcome.steps[1].record().apply());
  EXPECT_EQ(outcome.steps[1].attempts(), 2u);
}

// Supervision law: an actor that dies takes the run along with a named error, and nothing hangs.
TEST(Launch, AnOperatorThatThrowsEndsTheRunWithTheActorsName) {
  const Recipe recipe = recipe_of(3, 2);
  const BatchSource broken = [&](uint64_t step) {
    auto batches = learnable_batches(recipe, step);
    kernels::values<int32_t>(batches[1].inputs.view)[3] = 1 << 20;  // beyond any vocabulary
    return batches;
  };

  for (int round = 0; round < 20; ++round) {
    const Outcome outcome = play_with_actors(recipe, {2, 2, 1, 2, 1, 2}, broken);
    EXPECT_THAT(outcome.error, HasSubstr("stage/0.0.0"));
    EXPECT_THAT(outcome.error, HasSubstr("1048576"));
  }
}

TEST(Launch, NoBufferIsLeftBehind) {
  const Recipe recipe = recipe_of(3, 2);
  play_with_actors(recipe, {2, 2, 2, 2, 1, 2}, learnable(recipe));
  const int64_t before = kernels::buffer_use().live_bytes;

  play_with_actors(recipe, {2, 2, 2, 2, 1, 2}, learnable(recipe));

  EXPECT_EQ(kernels::buffer_use().live_bytes, before);
  EXPECT_EQ(before, 0);
}

// Shutting down in the middle of a step: operations are under way and refer to memory of actors and
// arena, whichever of them would go first.
TEST(Launch, ARunThatIsDroppedInAStepLeavesNothingBehind) {
  const Recipe recipe = recipe_of(3, 4, 3);
  for (int round = 0; round < 50; ++round) {
    const Layout layout = round % 2 == 0 ? Layout{1, 1, 1, 1, 1, 1} : Layout{4, 2, 2, 2, 2, 2};
    EXPECT_THROW(play_with_actors(recipe, layout, learnable(recipe),
                                  [](const wire::StepDone&) { throw std::logic_error("enough"); }),
                 std::logic_error);
    ASSERT_EQ(kernels::buffer_use().live_bytes, 0) << "round " << round;
  }
}

TEST(Launch, AnActorThatFailsInAStepLeavesNothingBehind) {
  const Recipe recipe = recipe_of(3, 4);
  const BatchSource broken = [&](uint64_t step) {
    auto batches = learnable_batches(recipe, step);
    kernels::values<int32_t>(batches[3].inputs.view)[0] = -1;
    return batches;
  };
  for (int round = 0; round < 50; ++round) {
    const Layout layout = round % 2 == 0 ? Layout{1, 1, 1, 1, 1, 1} : Layout{4, 3, 2, 2, 2, 2};
    EXPECT_THAT(play_with_actors(recipe, layout, broken).error, HasSubstr("stage/0."));
    ASSERT_EQ(kernels::buffer_use().live_bytes, 0) << "round " << round;
  }
}

TEST(Launch, ACompanyThatNeverRunsGoesAway) {
  const Recipe recipe = recipe_of(3, 2);
  kernels::ThreadPool pool(2);
  runtime::StateArena arena(kernels::parameters(recipe.shape));
  const Layout layout{2, 2, 2, 2, 2, 2};
  auto company = std::make_shared<Company>(recipe, plan_of(layout, recipe), arena, pool,
                                           learnable(recipe));
  const std::weak_ptr<Company> watched = company;
  {
    const Troupe troupe({.company = company,
                         .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = 0},
                         .bias = no_bias(recipe), .from = {}, .storage = nullptr,
                         .documents = {}});
  }
  company.reset();
  EXPECT_TRUE(watched.expired());  // no cycle of actors and company
}

}  // namespace
}  // namespace troupe::tests
