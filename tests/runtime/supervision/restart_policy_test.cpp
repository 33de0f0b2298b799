#include "runtime/supervision/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace troupe::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

std::vector<bool> allowed(int intensity, int period, const std::vector<int>& stamps) {
  RestartWindow window(intensity, seconds(period));
  std::vector<bool> out;
  for (const int stamp : stamps) out.push_back(window.add(seconds(stamp)));
  return out;
}

TEST(RestartWindow, AllowsWhatErlangAllows) {
  EXPECT_THAT(allowed(2, 3600, {0, 0, 0}), ElementsAre(true, true, false));
  EXPECT_THAT(allowed(1, 5, {0, 5}), ElementsAre(true, false));
  EXPECT_THAT(allowed(1, 5, {0, 6}), ElementsAre(true, true));
  EXPECT_THAT(allowed(0, 1, {7}), ElementsAre(false));
  EXPECT_THAT(allowed(3, 10, {0, 3, 6, 10}), ElementsAre(true, true, true, false));
  EXPECT_THAT(allowed(3, 10, {0, 3, 6, 11}), ElementsAre(true, true, true, true));
  EXPECT_THAT(allowed(1, 1, {10, 11}), ElementsAre(true, false));
  EXPECT_THAT(allowed(1, 1, {10, 12}), ElementsAre(true, true));
}

TEST(RestartWindow, CountsInWholeSeconds) {
  RestartWindow close(1, seconds(1));
  EXPECT_TRUE(close.add(milliseconds(10'000)));
  EXPECT_FALSE(close.add(milliseconds(11'999)));

  RestartWindow apart(1, seconds(1));
  EXPECT_TRUE(apart.add(milliseconds(10'999)));
  EXPECT_TRUE(apart.add(milliseconds(12'000)));
}

TEST(Backoff, DoublesUpToItsMaximum) {
  Backoff backoff({seconds(3), seconds(30)});
  std::vector<int64_t> waits;
  for (int i = 0; i < 6; ++i) waits.push_back(backoff.next(seconds(0)).count() / 1000);

  EXPECT_THAT(waits, ElementsAre(3, 6, 12, 24, 30, 30));
}

TEST(Backoff, BeginsAgainOnlyAfterAWhileWithoutFailure) {
  Backoff backoff({seconds(3), seconds(30)});
  backoff.next(seconds(0));
  backoff.started(seconds(3));
  EXPECT_EQ(backoff.next(milliseconds(19'499)), seconds(6));

  backoff.started(seconds(30));
  EXPECT_EQ(backoff.next(milliseconds(46'500)), seconds(3)) << "16.5 s after its start";
}

}  // namespace
}  // namespace troupe::runtime
