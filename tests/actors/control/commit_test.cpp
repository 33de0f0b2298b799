#include "actors/control/commit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops/fixed_point.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::ElementsAre;

wire::Loads loads(const std::vector<int64_t>& rows) {
  wire::Loads out;
  out.mutable_rows()->Add(rows.begin(), rows.end());
  return out;
}

TEST(UpdateBias, RaisesWhoGotLessThanTheMeanAndLowersWhoGotMore) {
  std::vector<float> bias{0.5f, 0.5f, 0.5f, 0.5f};

  update_bias(bias, std::vector<int64_t>{1, 2, 3, 2}, 0.25);

  EXPECT_THAT(bias, ElementsAre(0.75f, 0.5f, 0.25f, 0.5f)) << "equality changes nothing";
}

TEST(UpdateBias, ComparesWithTheExactMean) {
  std::vector<float> bias(3, 0.0f);

  // The mean is 10/3: 3 is below it, 4 above.
  update_bias(bias, std::vector<int64_t>{3, 3, 4}, 1.0);

  EXPECT_THAT(bias, ElementsAre(1.0f, 1.0f, -1.0f));
}

TEST(UpdateBias, ComparesLargeLoadsExactlyToo) {
  std::vector<float> bias(2, 0.0f);
  const int64_t most = int64_t{1} << 60;

  update_bias(bias, std::vector<int64_t>{most, most + 1}, 1.0);

  EXPECT_THAT(bias, ElementsAre(1.0f, -1.0f));
}

TEST(MaxViolation, IsTheWorstLoadOverTheMean) {
  EXPECT_DOUBLE_EQ(max_violation(std::vector{loads({2, 2, 2, 2})}), 0.0);
  EXPECT_DOUBLE_EQ(max_violation(std::vector{loads({8, 0, 0, 0})}), 3.0);
  EXPECT_DOUBLE_EQ(max_violation(std::vector{loads({8, 0, 0, 0}), loads({2, 2, 2, 2})}), 1.5);
  EXPECT_DOUBLE_EQ(max_violation(std::vector{loads({3, 1}), loads({0, 0})}), 0.5)
      << "a layer without rows does not count";
  EXPECT_EQ(max_violation({}), 0.0);
}

// Sum law: what is done about a fault.
TEST(NextAttempt, AStepWithoutFaultsIsDecided) { EXPECT_FALSE(next_attempt({}, 0)); }

TEST(NextAttempt, OutOfRangeRepeatsWithEightBitsLessInANewEpoch) {
  Attempt attempt{.step = 7, .epoch = {}, .scale_bits = 50};
  attempt.epoch.set_term(3);
  attempt.epoch.set_n(9);

  const auto next = next_attempt(attempt, kernels::unit_out_of_range);

  ASSERT_TRUE(next);
  EXPECT_EQ(next->step, 7u);
  EXPECT_EQ(next->epoch.term(), 3u);
  EXPECT_EQ(next->epoch.n(), 10u);
  EXPECT_EQ(next->scale_bits, 42);
  EXPECT_FALSE(next->is_repeat_of_nan);
}

TEST(NextAttempt, GivesUpWhereNoBitsAreLeft) {
  Attempt attempt{.step = 1, .epoch = {}, .scale_bits = 50};
  int repeats = 0;
  while (const auto next = next_attempt(attempt, kernels::unit_out_of_range)) {
    attempt = *next;
    ++repeats;
  }

  EXPECT_EQ(repeats, 6);
  EXPECT_EQ(attempt.scale_bits, 2);
}

TEST(NextAttempt, NanRepeatsOnceWithTheSameBits) {
  const Attempt attempt{.step = 7, .epoch = {}, .scale_bits = 50};

  const auto next = next_attempt(attempt, kernels::unit_not_finite);

  ASSERT_TRUE(next);
  EXPECT_EQ(next->scale_bits, 50);
  EXPECT_EQ(next->epoch.n(), 1u);
  EXPECT_FALSE(next_attempt(*next, kernels::unit_not_finite)) << "it came again";
  EXPECT_FALSE(next_attempt(*next, 0)) << "it went away";
}

TEST(NextAttempt, NanGoesBeforeOutOfRange) {
  const auto next =
      next_attempt({.step = 1, .epoch = {}, .scale_bits = 50},
                   kernels::unit_not_finite | kernels::unit_out_of_range);

  ASSERT_TRUE(next);
  EXPECT_EQ(next->scale_bits, 50);
  EXPECT_EQ(next_attempt(*next, kernels::unit_out_of_range)->scale_bits, 42);
}

/// A step's sums with round numbers, at s = 10.
struct Step {
  Recipe recipe = small_recipe();
  Attempt attempt{.step = 2, .epoch = {}, .scale_bits = 10};
  RoutingBias bias{std::vector<float>(8, 0.0f), 1};
  StepSums sums;
  wire::LossTrend trend;

  Step() {
    attempt.epoch.set_n(4);
    recipe.gamma = 0.5;
    sums.main_loss = 3 << 10;
    sums.mtp_loss = {5 << 9};
    sums.balance_loss = 1 << 8;
    sums.loads = {loads({4, 0, 2, 2}), loads({1, 1, 1, 5})};
    sums.block_norms = {9.0, 16.0};
  }
  wire::StepRecord record() const {
    StepNumbers numbers = Timeline(recipe).at(attempt.step);
    numbers.consumed_tokens = 1000;
    return make_record({.recipe = recipe, .attempt = attempt, .numbers = numbers, .trend = trend,
                        .bias = bias, .sums = sums});
  }
};

TEST(Record, HoldsWhatApplyAndTheReaderNeed) {
  const wire::StepRecord record = Step().record();

  EXPECT_EQ(record.step(), 2u);
  EXPECT_EQ(record.epoch().n(), 4u);
  EXPECT_EQ(record.consumed_tokens(), 1048u);
  EXPECT_EQ(record.loss(), 3.0);
  EXPECT_THAT(record.mtp_loss(), ElementsAre(2.5));
  EXPECT_EQ(record.balance_loss(), 0.25);
  EXPECT_EQ(record.gradient_norm(), 5.0);
  EXPECT_NEAR(record.clip_factor(), 0.2, 1e-6);
  EXPECT_EQ(record.learning_rate(), 3e-3);
  EXPECT_EQ(record.scale_bits(), 10);
  EXPECT_FALSE(record.has_scheduled()) << "records of runs without a schedule are as before";
  EXPECT_TRUE(record.apply());
  EXPECT_EQ(record.loads_size(), 2);
  EXPECT_THAT(record.loads(1).rows(), ElementsAre(1, 1, 1, 5));
  EXPECT_THAT(record.bias(), ElementsAre(-0.5f, 0.5f, 0.0f, 0.0f, 0.5f, 0.5f, 0.5f, -0.5f));
}

TEST(Record, OfAFaultyStepSkipsItAndLeavesTheBias) {
  Step step;
  step.sums.faults = kernels::unit_not_finite;
  step.bias.values[3] = 0.125f;

  const wire::StepRecord record = step.record();

  EXPECT_FALSE(record.apply());
  EXPECT_EQ(record.consumed_tokens(), 1048u) << "its tokens have been read";
  EXPECT_THAT(record.bias(), ElementsAre(0, 0, 0, 0.125f, 0, 0, 0, 0));
}

TEST(Record, WithoutGammaTheBiasStays) {
  Step step;
  step.recipe.gamma = 0;
  EXPECT_THAT(step.record().bias(), testing::Each(0.0f));
}

TEST(Record, GivesAdamWItsNumbers) {
  const Step step;

  const kernels::AdamWStep adamw = adamw_step(step.recipe, step.record());

  EXPECT_EQ(adamw.learning_rate, 3e-3f);
  EXPECT_EQ(adamw.beta1, 0.9f);
  EXPECT_EQ(adamw.beta2, 0.95f);
  EXPECT_EQ(adamw.eps, 1e-8f);
  EXPECT_EQ(adamw.clip, step.record().clip_factor());
  EXPECT_NEAR(adamw.correction1, 1 - 0.81, 1e-6);
  EXPECT_NEAR(adamw.correction2, 1 - 0.9025, 1e-6);
}

wire::StepRecord sample_record() {
  wire::StepRecord record;
  record.set_step(7);
  record.mutable_epoch()->set_term(1);
  record.set_loss(5.25);
  *record.add_loads() = loads({3, 5});
  for (const float value : {0.5f, 0.25f, 0.0f}) record.add_bias(value);
  return record;
}

TEST(ReplayDifference, IsNoneWhenTheEpochAloneIsAnother) {
  wire::StepRecord again = sample_record();
  again.mutable_epoch()->set_term(2);

  EXPECT_EQ(replay_difference(again, sample_record()), "");
}

// A bit is enough, and what is printed must show it.
TEST(ReplayDifference, NamesTheFirstFieldWithBothValues) {
  wire::StepRecord again = sample_record();
  again.set_loss(std::nextafter(5.25, 6.0));

  EXPECT_EQ(replay_difference(again, sample_record()),
            "step 7 done again came to loss 5.2500000000000009, the journal has loss 5.25");

  again.set_bias(1, 0.75f);
  again.mutable_loads(0)->set_rows(1, 6);
  EXPECT_THAT(replay_difference(again, sample_record()),
              testing::EndsWith("has loss 5.25; 2 more differ"));
  again.set_loss(5.25);
  EXPECT_EQ(replay_difference(again, sample_record()),
            "step 7 done again came to loads[0] rows: 3 rows: 6, the journal has loads[0] rows: 3 "
            "rows: 5; 1 more differ");
}

TEST(ReplayDifference, ShowsAMinusZeroAndAShorterList) {
  wire::StepRecord again = sample_record();
  again.set_bias(2, -0.0f);

  EXPECT_EQ(replay_difference(again, sample_record()),
            "step 7 done again came to bias[2] -0, the journal has bias[2] 0");

  again.mutable_bias()->RemoveLast();
  EXPECT_EQ(replay_difference(again, sample_record()),
            "step 7 done again came to 2 of bias, the journal has bias[2] 0");
}

}  // namespace
}  // namespace troupe::tests
