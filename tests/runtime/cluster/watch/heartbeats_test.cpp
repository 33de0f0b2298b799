#include "runtime/cluster/watch/heartbeats.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/watch/urgent_thread.h"

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

bool hears(const DatagramSocket& socket, std::chrono::milliseconds time) {
  pollfd file{socket.file(), POLLIN, 0};
  return ::poll(&file, 1, static_cast<int>(time.count())) == 1;
}

// Else a leader that falls silent before its next sign is noticed when TCP has given up.
TEST_F(HeartbeatsTest, WhoIsHeardForTheFirstTimeIsAnsweredBeforeTheNextSignIsDue) {
  std::chrono::duration<double> shortest = 10s;
  for (int i = 0; i < 10; ++i) {
    auto leader = process(0, {});
    const DatagramSocket known({"127.0.0.1", 0}), fresh({"127.0.0.1", 0});
    leader->watch(1, 1, std::nullopt);
    leader->watch(2, 1, Endpoint{"127.0.0.1", known.port()});
    ASSERT_TRUE(hears(known, 10s));  // a sign has been sent, the next is due an interval later
    wire::Heartbeat sign;
    sign.set_process(1);
    sign.set_life(1);
    sign.set_number(1);
    const auto start = std::chrono::steady_clock::now();
    fresh.send(fresh.find({"127.0.0.1", leader->port()}), seal().seal(sign));
    ASSERT_TRUE(hears(fresh, 10s));
    shortest = std::min<std::chrono::duration<double>>(shortest, std::chrono::steady_clock::now() - start);
  }

  EXPECT_LT(shortest.count(), Heartbeats::interval / 2);
}

TEST_F(HeartbeatsTest, AnAddressOfNobodyIsAnError) {
  EXPECT_THROW(
      Heartbeats({.process = 0, .life = 1, .seal = seal(), .at = {"203.0.113.1", 0}, .events = {}}),
      ClusterError);
}

}  // namespace
}  // namespace troupe::tests
