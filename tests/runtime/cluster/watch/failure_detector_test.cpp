#include "runtime/cluster/watch/failure_detector.h"

#include <gtest/gtest.h>

#include <random>

namespace troupe::tests {
namespace {

using runtime::AwakeClock;
using runtime::FailureDetector;

/// In milliseconds, which are seconds to a detector as well as any other unit.
constexpr FailureDetector::Options plain{
    .first_interval = 1000, .window = 1000, .least_deviation = 100, .acceptable_pause = 0};
/// As heartbeats.h has them, in seconds.
constexpr FailureDetector::Options used{
    .first_interval = 0.1, .window = 600, .least_deviation = 0.03, .acceptable_pause = 0.45};

/// Heard so often, evenly, the last time at 0.
FailureDetector even(const FailureDetector::Options& options, double interval, int count = 1000) {
  FailureDetector detector(options);
  for (int i = count; i >= 0; --i) detector.heard(-interval * i);
  return detector;
}

/// Seconds of silence until phi is 8, to a millisecond.
double seconds_to_suspicion(const FailureDetector& detector, double last) {
  double silence = 0;
  while (detector.phi(last + silence) < 8) silence += 0.001;
  return silence;
}

TEST(FailureDetector, PhiIsTheTailOfTheNormalDistribution) {
  const FailureDetector detector = even(plain, 1000);

  EXPECT_NEAR(detector.phi(0), 0.0, 1e-9);
  EXPECT_NEAR(detector.phi(1000), 0.30103, 1e-5);  // half of all come later than the mean
  EXPECT_NEAR(detector.phi(1100), 0.79955, 1e-5);  // 1 - F(1 deviation) = 0.158655
  EXPECT_NEAR(detector.phi(1200), 1.64302, 1e-5);  // 0.0227501
  EXPECT_NEAR(detector.phi(1400), 4.49934, 1e-5);  // 3.16712e-5
  EXPECT_NEAR(detector.phi(1600), 9.00586, 1e-5);  // 9.86588e-10
  EXPECT_EQ(detector.phi(1e9), 300);
}

TEST(FailureDetector, NobodyIsSuspectedBeforeItWasHeard) {
  const FailureDetector detector(plain);

  EXPECT_EQ(detector.phi(1e9), 0);
  EXPECT_EQ(detector.silence(1e9), 0);
}

TEST(FailureDetector, TheFirstSignIsJudgedByWhatWasGuessed) {
  FailureDetector detector(plain);

  detector.heard(0);

  EXPECT_EQ(detector.mean(), 1000);
  EXPECT_EQ(detector.deviation(), 500);
  EXPECT_NEAR(detector.phi(2000), 1.64302, 1e-5);
}

TEST(FailureDetector, TheWindowForgetsWhatIsOld) {
  FailureDetector detector(
      {.first_interval = 1, .window = 10, .least_deviation = 0, .acceptable_pause = 0});
  double now = 0;
  for (const double interval :
       {900.0, 800.0, 100.0, 110.0, 90.0, 140.0, 80.0, 100.0, 110.0, 90.0, 140.0, 80.0}) {
    if (now == 0) detector.heard(0);
    detector.heard(now += interval);
  }

  EXPECT_NEAR(detector.mean(), 104, 1e-9);
  EXPECT_NEAR(detector.deviation() * detector.deviation(), 424, 1e-6);
}

TEST(FailureDetector, EvenSignsThatStopAreSuspectedWithinASecond) {
  EXPECT_NEAR(seconds_to_suspicion(even(used, 0.1), 0), 0.719, 0.002);
  EXPECT_NEAR(seconds_to_suspicion(even(used, 0.1, 1), 0), 0.831, 0.002);
}

TEST(FailureDetector, JitterMovesTheBoundAndIsNoSuspicion) {
  std::mt19937 random(1);
  std::exponential_distribution<double> delay(1 / 0.05);
  FailureDetector detector(used);
  double now = 0, highest = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double next = now + 0.1 + delay(random);
    highest = std::max(highest, detector.phi(next));
    detector.heard(now = next);
  }

  EXPECT_LT(highest, 8);
  EXPECT_GT(seconds_to_suspicion(detector, now), 0.8);
  EXPECT_LT(seconds_to_suspicion(detector, now), 1.0);
}

// A cable that is out for a while, again and again.
TEST(FailureDetector, AGapThatEndsIsLearnedFrom) {
  FailureDetector detector(used);
  double now = 0, highest = 0;
  for (int i = 0; i < 1000; ++i) {
    const double next = now + (i % 20 == 19 ? 0.55 : 0.1);
    highest = std::max(highest, detector.phi(next));
    detector.heard(now = next);
  }

  EXPECT_LT(highest, 8);
  EXPECT_LT(detector.phi(now + 0.75), 8);
  EXPECT_GT(detector.phi(now + 1.2), 8);
}

// Every thread waits for four others: signs come late by many slices of the scheduler, now and then
// by half a second.
TEST(FailureDetector, OversubscribedPeersAreNotSuspectedAndDeadOnesWithinThreeSeconds) {
  std::mt19937 random(2);
  std::exponential_distribution<double> delay(1 / 0.08);
  std::bernoulli_distribution is_long(0.01);
  FailureDetector detector(used);
  double now = 0, highest = 0;
  for (int i = 0; i < 36'000; ++i) {
    const double next = now + 0.1 + delay(random) + (is_long(random) ? 0.2 : 0);
    highest = std::max(highest, detector.phi(next));
    detector.heard(now = next);
  }

  EXPECT_LT(highest, 8);
  EXPECT_LT(seconds_to_suspicion(detector, now), 3);
}

TEST(AwakeClock, CountsWhatItsOwnerSaw) {
  AwakeClock clock(0.06);

  EXPECT_EQ(clock.look(100), 0);
  EXPECT_NEAR(clock.look(100.02), 0.02, 1e-9);
  EXPECT_NEAR(clock.look(100.05), 0.05, 1e-9);
}

TEST(AwakeClock, DoesNotTakeTheJudgesOwnDelayForSilence) {
  FailureDetector detector = even(used, 0.1);
  AwakeClock clock(0.06);
  clock.look(0);

  // Stopped for ten seconds: nobody is to blame.
  EXPECT_LT(detector.phi(clock.look(10)), 8);

  // Late at every look, but the peer stays silent.
  double now = 10;
  while (detector.phi(clock.look(now)) < 8) now += 0.2;
  EXPECT_LT(now, 10 + 2.5);
}

}  // namespace
}  // namespace troupe::tests
