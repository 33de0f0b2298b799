#include "runtime/cluster/watch/heartbeat_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using runtime::HeartbeatJudge;
using runtime::Suspicion;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr HeartbeatJudge::Options options{.detector = {.first_interval = 0.1,
                                                       .window = 100,
                                                       .least_deviation = 0.03,
                                                       .acceptable_pause = 0.45},
                                          .threshold = 8,
                                          .patience = 10};

std::vector<int> suspected(HeartbeatJudge& judge, double now) {
  std::vector<int> processes;
  for (const Suspicion& one : judge.judge(now).suspected) processes.push_back(one.process);
  return processes;
}

/// Processes 1 and 2 in their first life, each heard ten times until 1 s.
HeartbeatJudge judge_of_two() {
  HeartbeatJudge judge(options);
  for (const int process : {1, 2}) {
    judge.watch(process, 1, 0);
    for (uint64_t i = 1; i <= 10; ++i) {
      EXPECT_TRUE(judge.hear(process, 1, i, 0.1 * static_cast<double>(i)));
    }
  }
  return judge;
}

TEST(HeartbeatJudge, WhoFallsSilentIsNamedOnce) {
  HeartbeatJudge judge = judge_of_two();
  judge.hear(2, 1, 11, 1.6);

  EXPECT_THAT(suspected(judge, 1.5), IsEmpty());
  const auto verdict = judge.judge(1.8);
  EXPECT_THAT(suspected(judge, 1.9), IsEmpty());

  ASSERT_EQ(verdict.suspected.size(), 1u);
  EXPECT_EQ(verdict.suspected[0].process, 1);
  EXPECT_NEAR(verdict.suspected[0].silence, 0.8, 1e-9);
  EXPECT_NEAR(verdict.suspected[0].mean, 0.1, 1e-9);
  EXPECT_GE(verdict.suspected[0].phi, 8);
  EXPECT_EQ(
      runtime::describe(
          {.process = 1, .life = 1, .phi = 8.25, .silence = 0.8, .mean = 0.1, .deviation = 0.03}),
      "silent for 0.80 s (phi 8.2; heartbeats came every 0.100 s, deviation 0.030 s)");
}

// The sentence stands: whoever takes its place is judged anew.
TEST(HeartbeatJudge, WhoWasNamedAndComesBackIsNotNamedAgain) {
  HeartbeatJudge judge = judge_of_two();
  ASSERT_THAT(suspected(judge, 2), ElementsAre(1, 2));

  judge.hear(1, 1, 11, 2);
  EXPECT_THAT(suspected(judge, 9), IsEmpty());

  judge.watch(1, 2, 9);
  judge.hear(1, 2, 1, 9);
  EXPECT_THAT(suspected(judge, 11), ElementsAre(1));
}

TEST(HeartbeatJudge, SignsOfAnotherLifeOldOnesAndStrangersAreNone) {
  HeartbeatJudge judge = judge_of_two();
  judge.watch(1, 2, 1);

  EXPECT_FALSE(judge.hear(1, 1, 12, 1.1));
  EXPECT_TRUE(judge.hear(1, 2, 5, 1.1));
  EXPECT_FALSE(judge.hear(1, 2, 5, 1.2));
  EXPECT_FALSE(judge.hear(1, 2, 4, 1.2));
  EXPECT_FALSE(judge.hear(3, 1, 1, 1.2));
  judge.forget(2);
  EXPECT_FALSE(judge.hear(2, 1, 11, 1.2));
  EXPECT_THAT(suspected(judge, 1.7), IsEmpty());
  EXPECT_THAT(suspected(judge, 2.2), ElementsAre(1));
}

TEST(HeartbeatJudge, WhoWasNeverHeardIsNotSuspectedButSaidToBeUnheard) {
  HeartbeatJudge judge(options);
  judge.watch(1, 1, 100);

  EXPECT_THAT(judge.judge(109).unheard, IsEmpty());
  const auto verdict = judge.judge(110);
  EXPECT_THAT(verdict.unheard, ElementsAre(1));
  EXPECT_THAT(verdict.suspected, IsEmpty());
  EXPECT_THAT(judge.judge(200).unheard, IsEmpty());
}

}  // namespace
}  // namespace troupe::tests
