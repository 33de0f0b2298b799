#include "config/schedule/dealing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "tests/config/plan/planned.h"

namespace troupe::config {
namespace {

using testing::ElementsAre;
using testing::Each;
using testing::Ge;
using Shares = std::vector<int>;

/// A plan of data workers in processes of their own.
Plan plan_of(int data, Parallel::Schedule schedule = Parallel::ONE_F_ONE_B, int pipeline = 1) {
  Plan plan{};
  plan.data = data;
  plan.processes = data;
  plan.schedule = schedule;
  plan.pipeline = pipeline;
  return plan;
}

UnitWork work_of(int data, double own, double experts) {
  UnitWork work{.workers = {}, .experts = std::vector<double>(static_cast<size_t>(data), experts)};
  for (int d = 0; d < data; ++d) work.workers.push_back({{d, own}});
  return work;
}

Shares paced(const Plan& plan, const UnitWork& work, const std::vector<double>& paces, int n) {
  return paced_shares({.plan = plan, .work = work, .paces = paces, .micro_batches = n});
}

double slowest(const UnitWork& work, const Shares& shares, const std::vector<double>& paces) {
  const std::vector<double> flops = process_flops(work, shares);
  double longest = 0;
  for (size_t p = 0; p < flops.size(); ++p) longest = std::max(longest, flops[p] * paces[p]);
  return longest;
}

TEST(Deal, EqualSharesGoInTurn) {
  EXPECT_THAT(equal_shares(8, 3), ElementsAre(3, 3, 2));
  EXPECT_THAT(equal_shares(2, 3), ElementsAre(1, 1, 0));
  EXPECT_THAT(deal(equal_shares(8, 3)),
              ElementsAre(ElementsAre(0, 3, 6), ElementsAre(1, 4, 7), ElementsAre(2, 5)));
}

TEST(Deal, WhoHasItsShareIsPassedOver) {
  EXPECT_THAT(deal(Shares{1, 4, 2}),
              ElementsAre(ElementsAre(0), ElementsAre(1, 3, 5, 6), ElementsAre(2, 4)));
  EXPECT_EQ(shares_of(deal(Shares{1, 4, 0})), (Shares{1, 4, 0}));
}

TEST(PacedShares, OfEqualPacesAreThePlans) {
  EXPECT_THAT(paced(plan_of(3), work_of(3, 1, 1), {1, 1, 1}, 8), ElementsAre(3, 3, 2));
  EXPECT_THAT(paced(plan_of(3), work_of(3, 1, 1), {2, 2, 2}, 8), ElementsAre(3, 3, 2));
}

TEST(PacedShares, FollowThePaces) {
  EXPECT_THAT(paced(plan_of(2), work_of(2, 1, 0), {1, 2}, 6), ElementsAre(4, 2));
  EXPECT_THAT(paced(plan_of(2), work_of(2, 1, 0), {5, 1}, 6), ElementsAre(1, 5));
  EXPECT_THAT(paced(plan_of(4), work_of(4, 1, 0), {1, 1, 3, 1}, 20), ElementsAre(6, 6, 2, 6));
}

TEST(PacedShares, EverybodyTakesAtLeastOne) {
  EXPECT_THAT(paced(plan_of(3), work_of(3, 1, 0), {1, 1000, 1}, 7), ElementsAre(3, 1, 3));
}

// Experts of the slow one work for everybody, so it has that to do whatever it is dealt.
TEST(PacedShares, ExpertsThatEverybodyAsksCountToo) {
  EXPECT_THAT(paced(plan_of(2), work_of(2, 1, 0.25), {1, 2}, 12), ElementsAre(9, 3));
}

TEST(PacedShares, AreNotMovedForATwentieth) {
  EXPECT_THAT(paced(plan_of(2), work_of(2, 1, 0), {1, 1.04}, 100), ElementsAre(50, 50));
  EXPECT_THAT(paced(plan_of(2), work_of(2, 1, 20), {1, 2}, 6), ElementsAre(3, 3))
      << "experts are nearly all of the work";
}

TEST(PacedShares, CanBePlayedByThePlansSchedule) {
  const UnitWork work = work_of(2, 1, 0);
  EXPECT_THAT(paced(plan_of(2, Parallel::DUALPIPE, 2), work, {1, 4}, 16), ElementsAre(12, 4))
      << "an even number of at least 2 x 2 ranks";
  EXPECT_THAT(paced(plan_of(2, Parallel::DUALPIPE, 2), work, {1, 1.9}, 24), ElementsAre(16, 8));
  EXPECT_THAT(paced(plan_of(2, Parallel::DUALPIPE_V, 4), work, {1, 2}, 15), ElementsAre(10, 5));
}

// lists_of_step plays what its equal shares are.
TEST(PacedShares, OfAStepThatTheScheduleCannotPlayAreEqual) {
  const UnitWork work = work_of(2, 1, 0);
  EXPECT_THAT(paced(plan_of(2, Parallel::DUALPIPE, 2), work, {1, 4}, 6), ElementsAre(3, 3));
  EXPECT_THAT(paced(plan_of(3), work_of(3, 1, 0), {1, 4, 1}, 2), ElementsAre(1, 1, 0));
}

// Against every other way to deal.
TEST(PacedShares, AreTheBestThereAreForProcessesOfTheirOwn) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::uniform_real_distribution<double> pace(1, 4), expert(0, 1);
    const std::vector<double> paces{pace(random), pace(random), pace(random)};
    const UnitWork work = work_of(3, 1, expert(random));
    const int n = 3 + static_cast<int>(random() % 10);

    const Shares found = paced(plan_of(3), work, paces, n);

    double best = slowest(work, equal_shares(n, 3), paces);
    for (int a = 1; a < n - 1; ++a) {
      for (int b = 1; a + b < n; ++b) best = std::min(best, slowest(work, {a, b, n - a - b}, paces));
    }
    EXPECT_LE(slowest(work, found, paces), best / 0.95 + 1e-9);
    EXPECT_EQ(std::accumulate(found.begin(), found.end(), 0), n);
    EXPECT_THAT(found, Each(Ge(1)));
  }
}

// Of a plan as it is made: data worker 1 lives in process 1, with half of the experts.
TEST(PacedShares, OfARunWithASlowNode) {
  const Planned p({"parallel.data=2", "parallel.expert=2", "cluster.nodes=2"});
  const UnitWork work = unit_work(p.args, p.plan);

  const Shares shares = paced(p.plan, work, {1, 2}, 8);

  EXPECT_EQ(shares[0] + shares[1], 8);
  EXPECT_LE(shares[1], 2);
  EXPECT_LT(slowest(work, shares, {1, 2}), 0.95 * slowest(work, {4, 4}, {1, 2}));
}

}  // namespace
}  // namespace troupe::config
