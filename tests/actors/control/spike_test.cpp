#include "actors/control/spike.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "actors/control/commit.h"
#include "kernels/ops/fixed_point.h"
#include "tests/actors/train/varied_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::HasSubstr;

config::Spike spike_of(int window, double threshold,
                       config::Spike::Policy policy = config::Spike::COUNT) {
  config::Spike spike;
  spike.set_window(window);
  spike.set_threshold(threshold);
  spike.set_policy(policy);
  return spike;
}

wire::LossTrend trend_of(const config::Spike& spike, const std::vector<double>& losses) {
  wire::LossTrend trend;
  for (const double loss : losses) trend = next_trend(spike, trend, loss);
  return trend;
}

TEST(LossTrend, BeginsAsMeanAndVarianceOfWhatItHasSeen) {
  const wire::LossTrend trend = trend_of(spike_of(8, 6), {2, 4, 4, 6});

  EXPECT_EQ(trend.losses(), 4u);
  EXPECT_DOUBLE_EQ(trend.mean(), 4);
  EXPECT_DOUBLE_EQ(trend.variance(), 2);
}

TEST(LossTrend, ForgetsWhatIsFarBehindTheWindow) {
  std::vector<double> losses(10, 9.0);
  losses.resize(500, 3.0);
  const wire::LossTrend trend = trend_of(spike_of(16, 6), losses);

  EXPECT_NEAR(trend.mean(), 3, 1e-9);
  EXPECT_NEAR(trend.variance(), 0, 1e-9);
}

TEST(Spike, IsALossFarAboveAFullTrendAlone) {
  const config::Spike spike = spike_of(4, 3);  // mean 4, deviation 1
  const wire::LossTrend trend = trend_of(spike, {3, 5, 3, 5});

  EXPECT_FALSE(is_spike(spike, trend, 7));
  EXPECT_TRUE(is_spike(spike, trend, std::nextafter(7.0, 8.0)));
  EXPECT_FALSE(is_spike(spike, trend, -100)) << "low is good";
  EXPECT_FALSE(is_spike(spike, trend_of(spike, {3, 5, 3}), 1000)) << "too little is known";
}

TEST(Spike, CountsAndHardlyMovesTheTrend) {
  const config::Spike spike = spike_of(4, 3);
  const wire::LossTrend before = trend_of(spike, {3, 5, 3, 5});

  const wire::LossTrend after = next_trend(spike, before, 1e9);

  EXPECT_EQ(after.spikes(), 1u);
  EXPECT_DOUBLE_EQ(after.mean(), 4 + 0.25 * 3);
  EXPECT_TRUE(is_spike(spike, after, 1e9)) << "the next one is seen too";
}

TEST(Spike, ALossThatStaysHighIsTheTrendAfterAWhile) {
  const config::Spike spike = spike_of(16, 6);
  std::vector<double> losses;
  for (int i = 0; i < 100; ++i) losses.push_back(i % 2 ? 3.0 : 3.1);
  wire::LossTrend trend = trend_of(spike, losses);

  int spikes = 0;
  for (int i = 0; i < 100; ++i) {
    spikes += is_spike(spike, trend, 5.0);
    trend = next_trend(spike, trend, 5.0);
  }

  EXPECT_GT(spikes, 0);
  EXPECT_LT(spikes, 30);
  EXPECT_FALSE(is_spike(spike, trend, 5.0));
}

/// Records of a run whose losses are given; loads and gradients are none.
class Records {
 public:
  explicit Records(Recipe recipe) : recipe_(std::move(recipe)), timeline_(recipe_) {}

  wire::StepRecord next(double loss, uint32_t faults = 0) {
    StepSums sums;
    sums.main_loss = static_cast<int64_t>(loss * 1024);
    sums.loads.resize(static_cast<size_t>(recipe_.moe_layers()));
    for (auto& layer : sums.loads) {
      for (const int64_t rows : {4, 0, 2, 2}) layer.add_rows(rows);
    }
    sums.faults = faults;
    const Attempt attempt{.step = before_.step() + 1, .epoch = {}, .scale_bits = 10};
    before_ = make_record({.recipe = recipe_, .attempt = attempt,
                           .numbers = timeline_.at(attempt.step), .trend = before_.trend(),
                           .bias = bias_, .sums = sums});
    return before_;
  }

 private:
  const Recipe recipe_;
  const Timeline timeline_;
  const RoutingBias bias_{std::vector<float>(8, 0.0f), 0};
  wire::StepRecord before_;
};

Recipe watched(config::Spike::Policy policy) {
  Recipe recipe = small_recipe();
  recipe.spike = spike_of(4, 3, policy);
  return recipe;
}

/// Four quiet steps, then the loss of the fifth.
wire::StepRecord fifth(const Recipe& recipe, double loss) {
  Records records(recipe);
  for (const double each : {3.0, 5.0, 3.0, 5.0}) EXPECT_FALSE(records.next(each).is_spike());
  return records.next(loss);
}

TEST(SpikePolicy, CountAppliesTheStepAndSaysSo) {
  const Recipe recipe = watched(config::Spike::COUNT);
  const wire::StepRecord record = fifth(recipe, 9);

  EXPECT_TRUE(record.is_spike());
  EXPECT_TRUE(record.apply());
  EXPECT_EQ(record.trend().spikes(), 1u);
  EXPECT_NE(record.bias(0), 0);
  EXPECT_EQ(spike_objection(recipe, record), "");
  EXPECT_EQ(spike_text(record),
            "step 5 has loss 9, a spike: the mean is 4.75, the standard deviation 1.56125");
}

TEST(SpikePolicy, SkipLeavesWeightsAndBias) {
  const wire::StepRecord record = fifth(watched(config::Spike::SKIP), 9);

  EXPECT_TRUE(record.is_spike());
  EXPECT_FALSE(record.apply());
  EXPECT_THAT(record.bias(), testing::Each(0.0f));
  EXPECT_TRUE(fifth(watched(config::Spike::SKIP), 6).apply());
}

TEST(SpikePolicy, StopObjectsToTheRecord) {
  const Recipe recipe = watched(config::Spike::STOP);

  EXPECT_THAT(spike_objection(recipe, fifth(recipe, 9)),
              HasSubstr("step 5 has loss 9, a spike: the mean is 4.75"));
  EXPECT_THAT(spike_objection(recipe, fifth(recipe, 9)),
              HasSubstr("; train.spike.policy is STOP"));
  EXPECT_EQ(spike_objection(recipe, fifth(recipe, 6)), "");
}

TEST(SpikePolicy, AFaultyStepIsNoSpikeAndLeavesTheTrend) {
  Records records(watched(config::Spike::STOP));
  for (const double loss : {3.0, 5.0, 3.0}) records.next(loss);
  const wire::StepRecord before = records.next(5.0);

  const wire::StepRecord record = records.next(1000, kernels::unit_not_finite);

  EXPECT_FALSE(record.is_spike());
  EXPECT_EQ(record.trend().SerializeAsString(), before.trend().SerializeAsString());
}

// Context extension: sequences of another length have another loss.
TEST(SpikePolicy, APhaseBeginsANewTrend) {
  Recipe recipe = varied_recipe();  // a phase begins at step 5
  recipe.spike = spike_of(4, 3, config::Spike::STOP);
  const wire::StepRecord record = fifth(recipe, 9);

  EXPECT_FALSE(record.is_spike());
  EXPECT_EQ(record.trend().losses(), 1u);
}

TEST(SpikePolicy, WithoutOneRecordsAreAsBefore) {
  const wire::StepRecord record = fifth(small_recipe(), 1000);

  EXPECT_FALSE(record.has_trend());
  EXPECT_FALSE(record.is_spike());
}

}  // namespace
}  // namespace troupe::tests
