// Supervision law: every request has a deadline, and it comes from measured times.
#include "actors/messages/deadlines.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using actors::Deadlines;
using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;

TEST(Deadlines, UntilAStepIsDoneTheSettingHolds) {
  Deadlines deadlines;
  deadlines.times.begun(1, Time(0s));

  EXPECT_EQ(deadlines.part(), 10min);
  EXPECT_EQ(deadlines.times.typical(), 0s);
}

/// A step of so many seconds.
void pass(Deadlines& deadlines, uint64_t step, int seconds) {
  deadlines.times.begun(step, Time(0s));
  deadlines.times.done(step, Time(std::chrono::seconds(seconds)));
}

TEST(Deadlines, APartHasTwentyTimesAUsualStepAndTenSecondsAtLeast) {
  Deadlines deadlines;
  deadlines.times.begun(1, Time(0s));
  deadlines.times.done(1, Time(100ms));
  EXPECT_EQ(deadlines.part(), 10s);

  pass(deadlines, 2, 3);
  pass(deadlines, 3, 3);
  pass(deadlines, 4, 100);  // one that waited for a failure to be noticed
  EXPECT_EQ(deadlines.part(), 60s);
  EXPECT_EQ(deadlines.around_crew(), 120s + 500ms);
  EXPECT_EQ(deadlines.around_states(), 1200s + 500ms);  // has no measure

  for (uint64_t step = 5; step < 40; ++step) pass(deadlines, step, 8);
  EXPECT_EQ(deadlines.part(), 160s);
}

TEST(Deadlines, TheSettingIsTheMost) {
  Deadlines deadlines;
  deadlines.step = 5s;
  deadlines.times.begun(1, Time(0s));
  deadlines.times.done(1, Time(3s));

  EXPECT_EQ(deadlines.part(), 5s);
}

TEST(Deadlines, AStepThatIsBegunAgainHasTwiceTheTimeEachTimeUntilItIsDone) {
  Deadlines deadlines;
  deadlines.times.begun(1, Time(0s));
  deadlines.times.done(1, Time(1s));
  deadlines.times.begun(2, Time(1s));
  deadlines.times.begun(2, Time(21s));
  EXPECT_EQ(deadlines.part(), 40s);
  deadlines.times.begun(2, Time(61s));
  EXPECT_EQ(deadlines.part(), 80s);
  for (int again = 0; again < 100; ++again) deadlines.times.begun(2, Time(61s));
  EXPECT_EQ(deadlines.part(), 10min);

  deadlines.times.done(2, Time(81s));
  deadlines.times.begun(3, Time(81s));
  EXPECT_EQ(deadlines.part(), 400s);  // 20 times the 20 s of the time when it was not lost
}

TEST(Deadlines, WhatTheLeaderHasMeasuredHoldsUntilAStepIsDoneHere) {
  Deadlines deadlines;
  deadlines.times.told(3s);
  deadlines.times.begun(7, Time(0s));
  EXPECT_EQ(deadlines.times.typical(), 3s);
  EXPECT_EQ(deadlines.part(), 60s);

  deadlines.times.done(7, Time(1s));
  deadlines.times.told(3s);
  EXPECT_EQ(deadlines.times.typical(), 1s);
}

// Otherwise who has just come would give up before all others.
TEST(Deadlines, OthersAreToldOfTheTimeThatAStepHasWhenItIsBegunAgain) {
  Deadlines deadlines;
  pass(deadlines, 1, 3);
  deadlines.times.begun(2, Time(3s));
  EXPECT_EQ(deadlines.times.to_tell(), 3s);
  deadlines.times.begun(2, Time(63s));
  EXPECT_EQ(deadlines.times.to_tell(), 6s);

  Deadlines told;
  told.times.told(deadlines.times.to_tell());
  told.times.begun(2, Time(63s));
  EXPECT_EQ(told.part(), deadlines.part());
  told.times.told(std::chrono::hours(100'000));
  EXPECT_EQ(told.times.typical(), 24h);
  told.times.told(-5s);
  EXPECT_EQ(told.times.typical(), 0s);
}

TEST(Deadlines, AProcesssOwnFirstStepMayTakeLongerThanAUsualOne) {
  Deadlines deadlines;
  EXPECT_EQ(deadlines.times.typical_or_cold(6s), 0s);
  deadlines.times.told(100ms);
  EXPECT_EQ(deadlines.times.typical_or_cold(6s), 6s);
  deadlines.times.told(9s);
  EXPECT_EQ(deadlines.times.typical_or_cold(6s), 9s);

  pass(deadlines, 7, 1);
  EXPECT_EQ(deadlines.times.typical_or_cold(6s), 1s);
}

TEST(Deadlines, AStepThatWasNotBegunHereSaysNothing) {
  Deadlines deadlines;
  deadlines.times.done(7, Time(9s));

  EXPECT_EQ(deadlines.times.typical(), 0s);
}

}  // namespace
}  // namespace troupe::tests
