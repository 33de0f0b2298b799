// Runs over several hosts, each with a network of its own: what one process comes to, whatever the
// cables between them do.
#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <optional>

#include "tests/system/hosts.h"
#include "tests/system/long_run.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Namespaces : public LongRunTest {
 protected:
  void SetUp() override {
    LongRunTest::SetUp();
    if (IsSkipped()) return;
    hosts_.emplace(std::vector<std::string>{"host-a", "host-b", "host-c"}, folder_);
    if (!hosts_->why_none().empty()) GTEST_SKIP() << hosts_->why_none();
  }

  std::string leader(const std::string& arguments) const {
    return hosts_->on("host-a",
                      with_secret(arguments + " --nodes 3 --listen 10.0.0.1:7070 --insecure"));
  }
  std::string node(const std::string& host) const {
    return hosts_->on(host, with_secret("node --join 10.0.0.1:7070 --insecure"));
  }

  std::optional<Hosts> hosts_;
};

TEST_F(Namespaces, ARunOverThreeHostsEndsInTheHashOfOneProcess) {
  const uint64_t before = hosts_->sent_to("host-a");
  Background run(leader(train("--set parallel.pipeline=2")), folder_ / "run_output");
  Background first(node("host-b"), folder_ / "first"), second(node("host-c"), folder_ / "second");

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(first.wait(), 0) << first.text();
  EXPECT_EQ(second.wait(), 0) << second.text();
  EXPECT_EQ(last_hash(run.text()), wanted_);
  EXPECT_THAT(run.text(), HasSubstr(" of 2: host-b, pid "));
  EXPECT_THAT(run.text(), HasSubstr(" of 2: host-c, pid "));
  EXPECT_GT(hosts_->sent_to("host-a") - before, 1'000'000u) << "tensors went another way";
}

// Nothing is said on a cut cable, not even that a connection has ended.
TEST_F(Namespaces, ACutCableEndsTheRunByTheNamesOfItsHost) {
  Background run(leader(long_train("--set cluster.redundancy=0")), folder_ / "run_output");
  Background first(node("host-b"), folder_ / "first"), second(node("host-c"), folder_ / "second");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();

  hosts_->at_switch("ip link set host-c down");
  const auto cut = Clock::now();

  EXPECT_EQ(run.wait(), 1);
  EXPECT_LT(seconds_since(cut), 6.0);
  EXPECT_THAT(run.text(), HasSubstr("(host-c, pid "));
  EXPECT_THAT(run.text(), HasSubstr("troupe train --resume run goes on"));
  EXPECT_EQ(second.wait(), 1);
  EXPECT_LT(seconds_since(cut), 12.0);
  EXPECT_THAT(second.text(), HasSubstr("the run at 10.0.0.1:7070 is silent for "));
  first.wait();
}

// Commit law: an owner and its buddy are on two hosts, so all of one may be lost.
TEST_F(Namespaces, AHostThatIsLostWithAllItsProcessesTakesNoBlockWithIt) {
  Background run(hosts_->on("host-a", with_secret(long_train("--nodes 4 --listen 10.0.0.1:7070 --insecure"))),
                 folder_ / "run_output");
  std::vector<std::unique_ptr<Background>> nodes;  // of one host not behind each other
  for (const char* host : {"host-b", "host-a", "host-b"}) {
    nodes.push_back(std::make_unique<Background>(node(host), folder_ / ("node" + std::to_string(nodes.size()))));
    ASSERT_TRUE(run.says("node " + std::to_string(nodes.size()) + " of 3: " + host)) << run.text();
  }
  ASSERT_TRUE(run.says("step 13 ")) << run.text();

  for (const int lost : {0, 2}) ::kill(Hosts::program_of(*nodes[static_cast<size_t>(lost)]), SIGKILL);

  ASSERT_TRUE(run.says("waiting for a node in its place")) << run.text();
  const Background third(node("host-c"), folder_ / "third"), fourth(node("host-c"), folder_ / "fourth");
  ASSERT_TRUE(run.says("step 60 ")) << run.text();
  stop_and_expect_same_bits(run);
  EXPECT_THAT(run.text(), testing::Not(HasSubstr("going on from state "))) << "no copy was lost";
}

TEST_F(Namespaces, AThinCableChangesNoBit) {
  const std::string refused = hosts_->at_switch(
      "tc qdisc add dev host-c root tbf rate 32mbit burst 256kb latency 500ms || true");
  if (!refused.empty()) GTEST_SKIP() << "found no token bucket (sch_tbf) here: " << refused;
  Background run(leader(train("")), folder_ / "run_output");
  Background first(node("host-b"), folder_ / "first"), second(node("host-c"), folder_ / "second");

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted_);
  const auto queue = nlohmann::json::parse(hosts_->at_switch("tc -s -j qdisc show dev host-c"));
  EXPECT_GT(queue.at(0).at("overlimits").get<int>(), 0) << "nothing had to wait: " << queue;
}

TEST_F(Namespaces, ACableThatDelaysAndLosesFramesChangesNoBit) {
  Background cable(hosts_->bad_cable(2.0, 0.01), folder_ / "cable");
  if (!cable.says("ready")) GTEST_SKIP() << "found no devices of user space here: " << cable.text();
  hosts_->use_bad_cable("host-c");
  Background run(leader(train("")), folder_ / "run_output");
  Background first(node("host-b"), folder_ / "first"), second(node("host-c"), folder_ / "second");

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted_);
  EXPECT_THAT(cable.text(), HasSubstr("lost"));
}

}  // namespace
}  // namespace troupe::tests
