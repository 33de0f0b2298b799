#include "runtime/cluster/join/arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;
using testing::HasSubstr;

wire::NodeFacts facts_of(uint64_t pid) {
  wire::NodeFacts facts;
  facts.set_build("b1");
  facts.set_arithmetic("cpu.1");
  facts.set_pid(pid);
  return facts;
}

class ArrivalsTest : public testing::Test {
 protected:
  FrameSocket connect() { return FrameSocket::connect(listener_.endpoint(), within(5s)); }
  /// A node with that pid joins, and waits for its part.
  void join_one(uint64_t pid) {
    joining_.emplace_back([this, pid] {
      FrameSocket socket = connect();
      try {
        join(socket, secret_, facts_of(pid), within(60s));
      } catch (const ClusterError&) {
        // it gets none
      }
    });
  }
  ~ArrivalsTest() override {
    members_.clear();
    for (std::thread& one : joining_) one.join();
  }
  uint64_t next(Arrivals& arrivals) {
    auto member = arrivals.next(facts_of(0), within(60s));
    if (!member) return 0;
    const uint64_t pid = member->facts.pid();
    members_.push_back(std::move(*member));
    return pid;
  }

  Listener listener_{{"127.0.0.1", 0}};
  const Secret secret_{"a secret of both sides"};
  std::vector<Member> members_;
  std::vector<std::thread> joining_;
};

TEST_F(ArrivalsTest, WhoSaysNothingHoldsUpNobody) {
  Arrivals arrivals(listener_, secret_, 60s);
  const FrameSocket silent = connect();
  EXPECT_FALSE(arrivals.next(facts_of(0), within(0s)));
  FrameSocket half = connect();
  ASSERT_EQ(::send(half.file(), "\x40\0\0\0half", 8, 0), 8);

  join_one(7);
  EXPECT_EQ(next(arrivals), 7u);
  join_one(8);
  EXPECT_EQ(next(arrivals), 8u);

  EXPECT_FALSE(arrivals.has_news());
}

TEST_F(ArrivalsTest, WhoSaysNothingInTimeIsNamedAndSentAway) {
  Arrivals arrivals(listener_, secret_, 50ms);
  FrameSocket silent = connect();

  try {
    arrivals.next(facts_of(0), within(60s));
    FAIL() << "nobody was named";
  } catch (const ClusterError& error) {
    EXPECT_THAT(error.what(), HasSubstr("127.0.0.1:"));
    EXPECT_THAT(error.what(), HasSubstr("has not said within 50 ms who it is"));
  }
  EXPECT_TRUE(silent.receive(within(5s)).has_challenge());
  EXPECT_THROW(silent.receive(within(5s)), ClusterError);  // closed
}

TEST_F(ArrivalsTest, WhoSpeaksAnotherProtocolIsRefusedAndTheNextIsHeard) {
  Arrivals arrivals(listener_, secret_, 60s);
  FrameSocket browser = connect();
  const std::string request = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
  ASSERT_EQ(::send(browser.file(), request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));

  EXPECT_THROW(arrivals.next(facts_of(0), within(60s)), ClusterError);
  join_one(9);
  EXPECT_EQ(next(arrivals), 9u);
}

TEST_F(ArrivalsTest, WhoGoesBeforeItHasSpokenIsForgotten) {
  Arrivals arrivals(listener_, secret_, 60s);
  { const FrameSocket gone = connect(); }

  EXPECT_THROW(arrivals.next(facts_of(0), within(60s)), ClusterError);
  EXPECT_FALSE(arrivals.next(facts_of(0), within(0s)));
  EXPECT_FALSE(arrivals.has_news());
}

TEST_F(ArrivalsTest, OfTooManyTheFirstGo) {
  Arrivals arrivals(listener_, secret_, 60s);
  std::vector<FrameSocket> silent;
  for (int i = 0; i < 300; ++i) {
    silent.push_back(connect());
    EXPECT_FALSE(arrivals.next(facts_of(0), within(0s)));
  }

  EXPECT_TRUE(silent.front().has_frame());
  silent.front().receive(within(5s));
  EXPECT_THROW(silent.front().receive(within(5s)), ClusterError);
  join_one(10);
  EXPECT_EQ(next(arrivals), 10u);
}

}  // namespace
}  // namespace troupe::tests
