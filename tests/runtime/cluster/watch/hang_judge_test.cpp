// Supervision law: what hangs is found by how long everything else took.
#include "runtime/cluster/watch/hang_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace troupe::tests {
namespace {

using runtime::HangJudge;
using runtime::Occupation;
using testing::HasSubstr;

constexpr HangJudge::Options options{.first = 600, .least = 3, .times = 10, .steps = 3};

std::vector<Occupation> stage_at(uint64_t turn) { return {{"stage/0.0.0", "forward", turn, 12}}; }

TEST(HangJudge, UntilAStepIsCompleteTheFirstLimitHolds) {
  HangJudge judge(options);

  EXPECT_FALSE(judge.look(stage_at(1), 0, 0));
  EXPECT_FALSE(judge.look(stage_at(1), 0, 599));
  const auto hang = judge.look(stage_at(1), 0, 601);

  ASSERT_TRUE(hang);
  EXPECT_EQ(describe(*hang),
            "stage/0.0.0 has been at forward of step 12 for 601.0 s (limit 600.0 s, from measured times)");
}

TEST(HangJudge, TheLimitIsTenTimesTheLongestOccupationThatHasEnded) {
  HangJudge judge(options);
  judge.look(stage_at(1), 0.1, 0);
  judge.look(stage_at(1), 0.1, 2);  // took 2 s
  judge.look(stage_at(2), 0.1, 2.1);

  EXPECT_FALSE(judge.look(stage_at(2), 0.1, 22));
  EXPECT_TRUE(judge.look(stage_at(2), 0.1, 22.2));
}

TEST(HangJudge, TheLimitIsThreeStepsWhereThoseAreLonger) {
  HangJudge judge(options);
  judge.look(stage_at(1), 10, 0);

  EXPECT_FALSE(judge.look(stage_at(1), 10, 29.9));
  EXPECT_TRUE(judge.look(stage_at(1), 10, 30.1));
}

TEST(HangJudge, WhoGoesFromOneThingToTheNextDoesNotHang) {
  HangJudge judge(options);
  for (uint64_t turn = 0; turn < 100; ++turn) {
    EXPECT_FALSE(judge.look(stage_at(turn), 0.1, static_cast<double>(turn))) << turn;
  }
}

TEST(HangJudge, AHangIsNamedOnceAndTheLongerOfTwoFirst) {
  HangJudge judge(options);
  std::vector<Occupation> all = stage_at(1);
  judge.look(all, 0.1, 0);
  all.push_back({"router/0.0.1", "attended", 1, 12});
  judge.look(all, 0.1, 1);

  const auto hang = judge.look(all, 0.1, 5);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->at.actor, "stage/0.0.0");
  EXPECT_FALSE(judge.look(all, 0.1, 6));
}

}  // namespace
}  // namespace troupe::tests
