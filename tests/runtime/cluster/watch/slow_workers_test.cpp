#include "runtime/cluster/watch/slow_workers.h"

#include <gtest/gtest.h>

#include <random>

namespace troupe::tests {
namespace {

using runtime::SlowWorkers;
using Changes = std::vector<SlowWorkers::Change>;

constexpr SlowWorkers::Options options{.steps = 5, .slow = 1.3, .deviations = 5, .well = 1.15,
                                       .moved = 2};

/// All that is said while so many steps cost that.
Changes hear(SlowWorkers& workers, const std::vector<double>& costs, int steps) {
  Changes all;
  for (int i = 0; i < steps; ++i) {
    for (const auto& change : workers.hear(costs)) all.push_back(change);
  }
  return all;
}

TEST(SlowWorkers, OneThatIsSlowIsNamedOnceAndClearedWhenItIsWell) {
  SlowWorkers workers(options);

  const Changes named = hear(workers, {1, 1.02, 0.98, 2}, 20);
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].process, 3);
  EXPECT_TRUE(named[0].is_slow);
  EXPECT_NEAR(named[0].ratio, 2, 1e-12);

  EXPECT_EQ(hear(workers, {1, 1.02, 0.98, 1.2}, 20).size(), 0u);  // better, not well
  const Changes cleared = hear(workers, {1, 1.02, 0.98, 1.1}, 20);
  ASSERT_EQ(cleared.size(), 1u);
  EXPECT_EQ(cleared[0].process, 3);
  EXPECT_FALSE(cleared[0].is_slow);
}

TEST(SlowWorkers, OneThatGetsMuchSlowerIsNamedAnew) {
  SlowWorkers workers(options);
  ASSERT_EQ(hear(workers, {1, 1, 2}, 20).size(), 1u);

  EXPECT_EQ(hear(workers, {1, 1, 3.9}, 20).size(), 0u);
  const Changes anew = hear(workers, {1, 1, 4.1}, 20);

  ASSERT_EQ(anew.size(), 1u);
  EXPECT_TRUE(anew[0].is_slow);
  EXPECT_NEAR(anew[0].ratio, 4.1, 1e-12);
  EXPECT_EQ(hear(workers, {1, 1, 2}, 20).size(), 1u) << "better by more than half, not well";
}

TEST(SlowWorkers, PacesAreWhatWasSaid) {
  SlowWorkers workers(options);
  hear(workers, {1, 1, 1.2}, 20);
  EXPECT_EQ(workers.paces(), (std::vector<double>{1, 1, 1}));

  hear(workers, {1, 1, 2}, 20);
  EXPECT_EQ(workers.paces(), (std::vector<double>{1, 1, 2}));
  hear(workers, {1, 1, 2.5}, 20);
  EXPECT_EQ(workers.paces(), (std::vector<double>{1, 1, 2})) << "it has hardly moved";

  hear(workers, {1, 1, 1}, 20);
  EXPECT_EQ(workers.paces(), (std::vector<double>{1, 1, 1}));
}

TEST(SlowWorkers, HowLongOneIsSlowCountsFromItsNaming) {
  SlowWorkers workers(options);
  hear(workers, {1, 1, 2}, 5);  // named in the fifth
  EXPECT_EQ(workers.slow_for(0), std::vector<int>{2});
  EXPECT_EQ(workers.slow_for(1), std::vector<int>{});

  hear(workers, {1, 1, 4}, 10);  // named anew meanwhile
  EXPECT_EQ(workers.slow_for(10), std::vector<int>{2});
  EXPECT_EQ(workers.slow_for(11), std::vector<int>{});

  hear(workers, {1, 1, 1}, 10);
  EXPECT_EQ(workers.slow_for(0), std::vector<int>{}) << "well";
  hear(workers, {1, 1, 2}, 4);
  EXPECT_EQ(workers.slow_for(2), std::vector<int>{}) << "it counts anew";
}

TEST(SlowWorkers, NothingIsSaidOfFewStepsNorOfOneOddStep) {
  SlowWorkers workers(options);

  EXPECT_EQ(hear(workers, {1, 1, 9}, 2).size(), 0u);
  EXPECT_EQ(hear(workers, {1, 1, 1}, 3).size(), 0u);
  EXPECT_EQ(hear(workers, {1, 1, 50}, 1).size(), 0u);
  EXPECT_EQ(hear(workers, {1, 1, 1}, 10).size(), 0u);
}

TEST(SlowWorkers, OfTwoTheSlowerOneIsNamed) {
  SlowWorkers workers(options);

  const Changes named = hear(workers, {1.5, 1}, 5);

  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].process, 0);
}

TEST(SlowWorkers, AFastOneMakesNobodySlow) {
  SlowWorkers workers(options);

  EXPECT_EQ(hear(workers, {1, 1, 0.4, 1.1}, 20).size(), 0u);
}

TEST(SlowWorkers, WhereAllDifferNobodyIsNamed) {
  SlowWorkers workers(options);

  EXPECT_EQ(hear(workers, {1, 1.4, 1.8, 2.2, 2.6}, 20).size(), 0u);
}

TEST(SlowWorkers, NoiseNamesNobody) {
  std::mt19937 random(1);
  std::lognormal_distribution<double> noise(0, 0.3);
  SlowWorkers workers(SlowWorkers::usual);

  size_t named = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<double> costs(8);
    for (double& cost : costs) cost = noise(random);
    named += workers.hear(costs).size();
  }
  EXPECT_EQ(named, 0u);
}

TEST(SlowWorkers, WhoTakesAPlaceIsJudgedByItsOwnSteps) {
  SlowWorkers workers(options);
  ASSERT_EQ(hear(workers, {1, 1, 3}, 5).size(), 1u);

  workers.forget(2);
  EXPECT_EQ(workers.paces(), (std::vector<double>{1, 1, 1}));

  EXPECT_EQ(hear(workers, {1, 1, 3}, 4).size(), 0u);
  EXPECT_EQ(hear(workers, {1, 1, 3}, 1).size(), 1u);
}

TEST(SlowWorkers, AProcessWithoutWorkIsNotJudged) {
  SlowWorkers workers(options);

  EXPECT_EQ(hear(workers, {1, 0, 1}, 20).size(), 0u);
}

}  // namespace
}  // namespace troupe::tests
