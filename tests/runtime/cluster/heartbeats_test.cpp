#include "runtime/cluster/heartbeats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/urgent_thread.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;

HeartbeatSeal seal() { return {Secret("a secret of all processes"), "run 1"}; }

/// Whether this machine lets a thread like those that beat run in time. Where it does not, silence is what the
/// others hear of a living process, and rightly suspect.
class Pace {
 public:
  Pace() : thread_([this] { loop(); }) {}
  ~Pace() {
    over_.set_value();
    thread_.join();
  }
  Pace(const Pace&) = delete;
  Pace& operator=(const Pace&) = delete;

  bool is_kept() const { return longest_.load() < 300ms; }

 private:
  void loop() {
    make_urgent();
    const std::future<void> over = over_.get_future();
    for (auto last = std::chrono::steady_clock::now();
         over.wait_for(10ms) == std::future_status::timeout;) {
      const auto now = std::chrono::steady_clock::now();
      longest_ = std::max(longest_.load(), now - last);
      last = now;
    }
  }

  std::atomic<std::chrono::steady_clock::duration> longest_{0ms};
  std::promise<void> over_;
  std::thread thread_;
};

/// Whom it suspects first.
struct Judge {
  std::promise<Suspicion> promise;
  std::future<Suspicion> first = promise.get_future();

  bool names_within(std::chrono::milliseconds time) const {
    return first.wait_for(time) == std::future_status::ready;
  }
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

constexpr const char* held_up = "threads of this machine are held up for longer than an outage may be";

class HeartbeatsTest : public testing::Test {
 protected:
  const Pace pace_;
};

TEST_F(HeartbeatsTest, WhoStopsIsSuspectedByTheOtherSide) {
  Judge judge_of_node, judge_of_leader;
  auto leader = process(0, judge_of_node.events());
  auto node = process(1, judge_of_leader.events());
  leader->watch(1, 1, std::nullopt);
  node->watch(0, 1, Endpoint{"127.0.0.1", leader->port()});
  // Both live: nobody is named for longer than silence would take.
  const bool is_named = judge_of_node.names_within(1500ms) || judge_of_leader.names_within(0ms);
  if (!pace_.is_kept()) GTEST_SKIP() << held_up;
  EXPECT_FALSE(is_named);

  node.reset();
  ASSERT_EQ(judge_of_node.first.wait_for(10s), std::future_status::ready);
  const Suspicion of_node = judge_of_node.first.get();
  EXPECT_EQ(of_node.process, 1);
  EXPECT_GE(of_node.phi, Heartbeats::judgement.threshold);
  EXPECT_GT(of_node.silence, Heartbeats::judgement.detector.acceptable_pause);
}

TEST_F(HeartbeatsTest, ANodeSuspectsALeaderThatStops) {
  Judge judge;
  auto leader = process(0, {});
  auto node = process(2, judge.events());
  leader->watch(2, 1, std::nullopt);
  node->watch(0, 1, Endpoint{"localhost", leader->port()});
  const bool is_named = judge.names_within(500ms);
  if (!pace_.is_kept()) GTEST_SKIP() << held_up;
  EXPECT_FALSE(is_named);

  leader.reset();
  ASSERT_EQ(judge.first.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(judge.first.get().process, 0);
}

TEST_F(HeartbeatsTest, WhoTakesThePlaceOfAnotherIsJudgedForItself) {
  Judge judge;
  auto leader = process(0, judge.events());
  auto first = process(1, {});
  leader->watch(1, 1, std::nullopt);
  first->watch(0, 1, Endpoint{"127.0.0.1", leader->port()});
  leader->watch(1, 2, std::nullopt);
  auto second = process(1, {}, 2);
  second->watch(0, 1, Endpoint{"127.0.0.1", leader->port()});
  const bool is_named = judge.names_within(500ms);
  if (!pace_.is_kept()) GTEST_SKIP() << held_up;
  EXPECT_FALSE(is_named);

  second.reset();  // the first one still says that it lives
  ASSERT_EQ(judge.first.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(judge.first.get().process, 1);
}

TEST_F(HeartbeatsTest, AnAddressOfNobodyIsAnError) {
  EXPECT_THROW(
      Heartbeats({.process = 0, .life = 1, .seal = seal(), .at = {"203.0.113.1", 0}, .events = {}}),
      ClusterError);
}

}  // namespace
}  // namespace troupe::tests
