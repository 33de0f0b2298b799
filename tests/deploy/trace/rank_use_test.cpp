#include "deploy/trace/rank_use.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/deploy/trace/made_trace.h"

namespace troupe::tests {
namespace {

using namespace deploy;
using testing::HasSubstr;

/// 2 stages, 4 micro-batches, F = 1 ms and B = 2 ms; a message takes half a millisecond.
MadeTrace with_way() {
  MadeTrace made{.steps = {2, 3}};
  made.costs = config::unit_costs(2);
  made.costs.transfer = 0.5;
  return made;
}

TEST(UseOfRanks, IsAllOfTheStep) {
  for (const RankUse& use : use_of_ranks(merge_parts(make_parts(with_way())))) {
    EXPECT_NEAR(use.busy_ms, 4 * 3, 1e-6);
    EXPECT_EQ(use.operations, 8);
    EXPECT_NEAR(use.busy_ms + use.exposed_ms + use.other_ms, use.step_ms, 1e-6);
    EXPECT_NEAR(use.step_ms, played(with_way()).makespan, 1e-6);
  }
}

// 1F1B's second rank waits for the first forward, 1 ms of work and half of way, and for the third, which the first
// rank makes from 7 to 8 ms: from 7.5 to 8.5.
TEST(UseOfRanks, TellsWhatIsOnTheWayFromWhatIsNotMadeYet) {
  const auto uses = use_of_ranks(merge_parts(make_parts(with_way())));

  EXPECT_NEAR(uses[1].exposed_ms, 2.5, 1e-6);
  EXPECT_NEAR(uses[1].on_the_way_ms, 1, 1e-6);
  EXPECT_GT(uses[0].exposed_ms, 0);
  EXPECT_EQ(uses[0].process, 0);
  EXPECT_EQ(uses[1].process, 1);
}

TEST(UseOfRanks, ExposesNothingWithinOneProcess) {
  MadeTrace made = with_way();
  made.processes = 1;

  for (const RankUse& use : use_of_ranks(merge_parts(make_parts(made)))) {
    EXPECT_EQ(use.exposed_ms, 0);
    EXPECT_NEAR(use.busy_ms + use.other_ms, use.step_ms, 1e-6);
  }
}

TEST(UseOfRanks, HasTheBubbleOfTheScheduleBesideIt) {
  const auto uses = use_of_ranks(merge_parts(make_parts(with_way())));

  EXPECT_NEAR(uses[0].simulated_ms, 15, 1e-6) << "(4 + 1) * 3 without ways";
  EXPECT_NEAR(uses[0].simulated_idle_ms, 3, 1e-6);
  EXPECT_NEAR(uses[1].simulated_idle_ms, 3, 1e-6);
}

TEST(UseTable, HasARowForEachRankAndOneForAll) {
  const MergedTrace trace = merge_parts(make_parts(with_way()));

  const std::string table = use_table(trace, use_of_ranks(trace));

  EXPECT_THAT(table, HasSubstr("2 steps, 2 to 3: ONE_F_ONE_B, 2 stages, 1 data workers, 2 processes"));
  EXPECT_THAT(table, HasSubstr("\n0.1 in process 1"));
  EXPECT_THAT(table, HasSubstr("\nmean of all"));
  EXPECT_THAT(table, HasSubstr("15.00 ms simulated"));
  EXPECT_THAT(table, HasSubstr("20.0 %")) << "simulated idle";
}

}  // namespace
}  // namespace troupe::tests
