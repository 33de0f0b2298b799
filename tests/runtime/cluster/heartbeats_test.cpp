#include "runtime/cluster/heartbeats.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>

#include "runtime/cluster/cluster_error.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;

HeartbeatSeal seal() { return {Secret("a secret of all processes"), "run 1"}; }

/// Whom it suspects first.
struct Judge {
  std::promise<Suspicion> promise;
  std::future<Suspicion> first = promise.get_future();

  Heartbeats::Events events() {
    return {.suspected = [this](const Suspicion& one) { promise.set_value(one); }, .unheard = {}};
  }
};

std::unique_ptr<Heartbeats> process(int number, Heartbeats::Events events, uint32_t life = 1) {
  return std::make_unique<Heartbeats>(Heartbeats::Args{.process = number,
                                                       .life = life,
                                                       .seal = seal(),
                                                       .at = {"127.0.0.1", 0},
                                                       .events = std::move(events)});
}

TEST(Heartbeats, WhoStopsIsSuspectedByTheOtherSide) {
  Judge judge_of_node, judge_of_leader;
  auto leader = process(0, judge_of_node.events());
  auto node = process(1, judge_of_leader.events());
  leader->watch(1, 1, std::nullopt);
  node->watch(0, 1, Endpoint{"127.0.0.1", leader->port()});
  // Both live: nobody is named for longer than silence would take.
  EXPECT_EQ(judge_of_node.first.wait_for(1500ms), std::future_status::timeout);
  EXPECT_EQ(judge_of_leader.first.wait_for(0s), std::future_status::timeout);

  node.reset();
  ASSERT_EQ(judge_of_node.first.wait_for(10s), std::future_status::ready);
  const Suspicion of_node = judge_of_node.first.get();
  EXPECT_EQ(of_node.process, 1);
  EXPECT_GE(of_node.phi, Heartbeats::judgement.threshold);
  EXPECT_GT(of_node.silence, Heartbeats::judgement.detector.acceptable_pause);
}

TEST(Heartbeats, ANodeSuspectsALeaderThatStops) {
  Judge judge;
  auto leader = process(0, {});
  auto node = process(2, judge.events());
  leader->watch(2, 1, std::nullopt);
  node->watch(0, 1, Endpoint{"localhost", leader->port()});
  EXPECT_EQ(judge.first.wait_for(500ms), std::future_status::timeout);

  leader.reset();
  ASSERT_EQ(judge.first.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(judge.first.get().process, 0);
}

TEST(Heartbeats, WhoTakesThePlaceOfAnotherIsJudgedForItself) {
  Judge judge;
  auto leader = process(0, judge.events());
  auto first = process(1, {});
  leader->watch(1, 1, std::nullopt);
  first->watch(0, 1, Endpoint{"127.0.0.1", leader->port()});
  leader->watch(1, 2, std::nullopt);
  auto second = process(1, {}, 2);
  second->watch(0, 1, Endpoint{"127.0.0.1", leader->port()});
  EXPECT_EQ(judge.first.wait_for(500ms), std::future_status::timeout);

  second.reset();  // the first one still says that it lives
  ASSERT_EQ(judge.first.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(judge.first.get().process, 1);
}

TEST(Heartbeats, AnAddressOfNobodyIsAnError) {
  EXPECT_THROW(
      Heartbeats({.process = 0, .life = 1, .seal = seal(), .at = {"203.0.113.1", 0}, .events = {}}),
      ClusterError);
}

}  // namespace
}  // namespace troupe::tests
