#include "deploy/chaos/effective_time.h"

#include <gtest/gtest.h>

#include <cmath>

namespace troupe::tests {
namespace {

using deploy::effective_time;
using deploy::EffectiveTime;

std::vector<wire::Event> from_to(double from, double to) {
  std::vector<wire::Event> events(3);
  events[0].set_unix_us(static_cast<uint64_t>(std::llround(1e6 * from)));
  events[1].set_unix_us(static_cast<uint64_t>(std::llround(1e6 * to)));
  events[2].set_unix_us(static_cast<uint64_t>(std::llround(1e6 * (from + to) / 2)));
  return events;
}

TEST(EffectiveTime, IsTheStepsThatTheRunKeptAtTheirMedian) {
  const EffectiveTime time = effective_time({{1, 1.5, 1}, {2, 1.0, 1}, {3, 1.0, 1}, {4, 3.0, 2}, {5, 1.0, 1}},
                                            from_to(100, 110));

  EXPECT_EQ(time.steps, 5u);
  EXPECT_DOUBLE_EQ(time.step_seconds, 1.0);
  EXPECT_DOUBLE_EQ(time.wall_seconds, 10);
  EXPECT_DOUBLE_EQ(time.share(), 0.5);
}

TEST(EffectiveTime, StepsThatARestartDidAgainCountOnce) {
  EXPECT_EQ(effective_time({{1, 1, 1}, {2, 1, 1}, {1, 1, 1}, {2, 1, 1}, {3, 1, 1}}, from_to(0, 10)).steps, 3u);
}

TEST(EffectiveTime, OfNothingIsNothing) {
  EXPECT_EQ(effective_time({}, from_to(0, 10)).share(), 0);
  EXPECT_EQ(effective_time({{1, 1, 1}}, {}).share(), 0);
  EXPECT_EQ(effective_time({{1, 1, 2}}, from_to(0, 10)).share(), 0);
}

}  // namespace
}  // namespace troupe::tests
