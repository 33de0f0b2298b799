#include "actors/train/timeline.h"

#include <gtest/gtest.h>

#include <cmath>

#include "config/load.h"
#include "runtime/model_shape.h"
#include "tests/actors/train/small_recipe.h"
#include "tests/actors/train/varied_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;

config::LoadedRun deepseek_v3_run() {
  return config::load_run(std::string(TROUPE_SOURCE_DIR) +
                          "/config/runs/deepseek_v3_schedule.textproto");
}

Recipe deepseek_v3_recipe() {
  const config::LoadedRun run = deepseek_v3_run();
  return make_recipe(run.run, runtime::model_shape(config::model_of(run).model));
}

/// The first step that begins with at least so many tokens consumed.
uint64_t step_at(const Timeline& timeline, double tokens) {
  uint64_t low = 1, high = 1'000'000;
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    if (static_cast<double>(timeline.at(middle).consumed_tokens) < tokens) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

TEST(ValueAt, GoesFromPointToPointByEachShape) {
  config::Curve curve;
  curve.set_start(4);
  const auto to = [&](double tokens, double value, config::CurvePoint::Shape shape) {
    config::CurvePoint& point = *curve.add_to();
    point.set_tokens(tokens);
    point.set_value(value);
    point.set_shape(shape);
  };
  to(10, 2, config::CurvePoint::CONSTANT);
  to(30, 6, config::CurvePoint::LINEAR);
  to(40, 0, config::CurvePoint::COSINE);

  EXPECT_EQ(value_at(curve, 0), 4);
  EXPECT_EQ(value_at(curve, 9.999), 4) << "constant up to the point";
  EXPECT_EQ(value_at(curve, 10), 2);
  EXPECT_DOUBLE_EQ(value_at(curve, 25), 5);
  EXPECT_EQ(value_at(curve, 30), 6);
  EXPECT_NEAR(value_at(curve, 32.5), 3 + 3 * std::cos(0.25 * M_PI), 1e-14);
  EXPECT_NEAR(value_at(curve, 35), 3, 1e-14);
  EXPECT_EQ(value_at(curve, 40), 0);
  EXPECT_EQ(value_at(curve, 1e18), 0) << "behind the last point it stays";
}

// Section 4.2 of the report.
TEST(Timeline, OfDeepSeekV3HasTheReportsLearningRates) {
  const Timeline timeline(deepseek_v3_recipe());
  const auto rate = [&](double tokens) { return timeline.at(step_at(timeline, tokens)).learning_rate; };

  EXPECT_DOUBLE_EQ(timeline.at(1).learning_rate, 2.2e-4 / 2000);
  EXPECT_DOUBLE_EQ(timeline.at(1000).learning_rate, 1.1e-4);
  EXPECT_EQ(timeline.at(2000).learning_rate, 2.2e-4);
  EXPECT_EQ(rate(9.99e12), 2.2e-4);
  EXPECT_NEAR(rate(12.15e12), 1.21e-4, 1e-8);
  EXPECT_NEAR(rate(14.2999e12), 2.2e-5, 1e-9);
  EXPECT_EQ(rate(14.3e12), 2.2e-5);
  EXPECT_EQ(rate(14.632e12), 2.2e-5);
  EXPECT_EQ(rate(14.633e12), 7.3e-6);
  EXPECT_EQ(timeline.at(244'782).learning_rate, 7.3e-6);
}

TEST(Timeline, OfDeepSeekV3GrowsItsBatchInTheStepsThatTheTokensMake) {
  const Timeline timeline(deepseek_v3_recipe());
  const uint64_t grown = step_at(timeline, 469e9);

  EXPECT_EQ(timeline.at(1).micro_batches, 3072);
  EXPECT_EQ(timeline.at(grown).micro_batches, 15360);
  EXPECT_NEAR(static_cast<double>(grown - 1), 14'997, 1);
  EXPECT_NEAR(static_cast<double>(timeline.at(step_at(timeline, 234.5e9)).micro_batches), 9216, 1);
  EXPECT_NEAR(static_cast<double>(step_at(timeline, 14.8e12) - grown), 227'785, 1);
  EXPECT_EQ(timeline.at(grown).tokens(), 62'914'560);
}

TEST(Timeline, OfDeepSeekV3SwitchesGammaAndTheMtpWeight) {
  const Timeline timeline(deepseek_v3_recipe());

  EXPECT_EQ(timeline.at(step_at(timeline, 14.3e12) - 1).gamma, 1e-3);
  EXPECT_EQ(timeline.at(step_at(timeline, 14.3e12)).gamma, 0);
  EXPECT_EQ(timeline.at(step_at(timeline, 10e12) - 1).mtp_weight, 0.3);
  EXPECT_EQ(timeline.at(step_at(timeline, 10e12)).mtp_weight, 0.1);
}

// Section 4.3.
TEST(Timeline, OfDeepSeekV3ExtendsTheContextTwice) {
  const Timeline timeline(deepseek_v3_recipe());
  const StepNumbers first = timeline.at(242'783), second = timeline.at(243'783);

  EXPECT_EQ(timeline.at(242'782).sequence_rows, 4096);
  EXPECT_EQ(first.sequence_rows, 32'768);
  EXPECT_TRUE(first.begins_phase);
  EXPECT_EQ(first.first_sequence, 0u) << "a phase counts its sequences from 0";
  EXPECT_EQ(first.tokens(), 62'914'560);
  EXPECT_EQ(second.sequence_rows, 131'072);
  EXPECT_EQ(second.tokens(), 62'914'560);
  EXPECT_EQ(timeline.at(244'000).first_sequence, 217u * 480);
  EXPECT_EQ(timeline.phase_of_state(242'782).yarn->factor, 1);
  EXPECT_EQ(timeline.phase_of_state(242'783).yarn->factor, 40);
  EXPECT_EQ(timeline.phase_of_state(244'782).yarn->original_positions, 4096);
  EXPECT_EQ(timeline.recipe_of_state(244'782).shape.max_positions, 163'840);
}

/// Every step from the one before: what random access must agree with.
void expect_to_follow(const Recipe& recipe, uint64_t steps) {
  const Timeline timeline(recipe);
  StepNumbers before{};
  for (uint64_t step = 1; step <= steps; ++step) {
    const StepNumbers now = timeline.at(step);
    const uint64_t tokens = step == 1 ? 0 : before.consumed_tokens + static_cast<uint64_t>(before.tokens());
    ASSERT_EQ(now.consumed_tokens, tokens) << "step " << step;
    const uint64_t sequence =
        now.begins_phase ? 0
                         : before.first_sequence +
                               static_cast<uint64_t>(before.micro_batches * before.sequences);
    ASSERT_EQ(now.first_sequence, sequence) << "step " << step;
    ASSERT_EQ(now.phase, before.phase + (now.begins_phase && step > 1 ? 1 : 0)) << "step " << step;
    if (!timeline.phases()[now.phase].micro_batches && recipe.schedule.has_micro_batches()) {
      const double value = value_at(recipe.schedule.micro_batches(), static_cast<double>(tokens));
      const double multiple = recipe.schedule.micro_batches_multiple();
      ASSERT_EQ(static_cast<double>(now.micro_batches),
                std::max(1.0, std::floor(value / multiple + 0.5)) * multiple) << "step " << step;
    }
    before = now;
  }
}

TEST(Timeline, RandomAccessSaysWhatFollowsFromTheStepsBefore) {
  expect_to_follow(varied_recipe(), 100);
  expect_to_follow(small_recipe(), 100);
  Recipe recipe = varied_recipe();
  recipe.schedule.set_micro_batches_multiple(2);
  expect_to_follow(recipe, 100);
}

TEST(Timeline, OfDeepSeekV3FollowsStepByStep) { expect_to_follow(deepseek_v3_recipe(), 244'782); }

TEST(Timeline, FollowsThroughCurvesThatRiseAndFallBetweenTheSteps) {
  Recipe recipe = small_recipe();
  config::Curve& curve = *recipe.schedule.mutable_micro_batches();
  curve.set_start(1);
  const std::pair<double, double> points[] = {{500, 9}, {510, 2}, {3000, 2}, {5000, 40}, {5001, 3}};
  for (const auto& [tokens, value] : points) {
    config::CurvePoint& point = *curve.add_to();
    point.set_tokens(tokens);
    point.set_value(value);
    point.set_shape(value > 5 ? config::CurvePoint::COSINE : config::CurvePoint::LINEAR);
  }

  expect_to_follow(recipe, 500);
}

// What has no curve stays as it was before there were any.
TEST(Timeline, WithoutAScheduleEveryStepIsTheRecipes) {
  Recipe recipe = small_recipe();
  recipe.optimizer.set_decay(config::Optimizer::COSINE);
  const Timeline timeline(recipe);

  for (const uint64_t step : {1u, 2u, 37u, 100u, 1000u}) {
    const StepNumbers numbers = timeline.at(step);
    EXPECT_EQ(numbers.consumed_tokens, (step - 1) * 48);
    EXPECT_EQ(numbers.first_sequence, (step - 1) * 6);
    EXPECT_EQ(numbers.micro_batches, 3);
    EXPECT_EQ(numbers.gamma, recipe.gamma);
    EXPECT_EQ(numbers.mtp_weight, recipe.mtp_weight);
    EXPECT_EQ(numbers.learning_rate,
              learning_rate(recipe.optimizer, static_cast<int64_t>(step), recipe.steps));
  }
}

TEST(Timeline, APhasesRateGoesBeforeTheCurveAndTheWarmUpIsAFactorOnBoth) {
  Recipe recipe = varied_recipe();
  recipe.optimizer.set_warmup_steps(1000);
  const Timeline timeline(recipe);

  EXPECT_DOUBLE_EQ(timeline.at(2).learning_rate,
                   0.002 * value_at(recipe.schedule.learning_rate(),
                                    static_cast<double>(timeline.at(2).consumed_tokens)));
  EXPECT_DOUBLE_EQ(timeline.at(7).learning_rate, 0.007 * 1e-3);
}

TEST(Timeline, TokensBeyondAnyRunDoNotWrapAround) {
  Recipe recipe = small_recipe();
  recipe.sequences = int64_t{1} << 16;
  recipe.micro_batches = int64_t{1} << 20;
  recipe.sequence_rows = int64_t{1} << 24;
  recipe.phases.push_back({int64_t{1} << 40, 1, 8, 1, {}, {}, 256});

  EXPECT_EQ(Timeline(recipe).at((uint64_t{1} << 40) + 2).consumed_tokens, uint64_t{1} << 62);
}

}  // namespace
}  // namespace troupe::tests
