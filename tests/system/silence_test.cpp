// Processes that do not end but fall silent: frozen ones, and hosts whose cable is cut. Heartbeats
// say so.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <sstream>

#include "tests/system/family.h"
#include "tests/system/hosts.h"
#include "tests/system/long_run.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Silence : public LongRunTest {};

TEST_F(Silence, AFrozenNodeIsKilledAndReplacedAndNoBitChanges) {
  Background run(command(long_train("--nodes 3 --set parallel.data=2")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 7 ")) << run.text();
  const pid_t frozen = nodes_of(run).at(0);

  ASSERT_EQ(::kill(frozen, SIGSTOP), 0);
  ASSERT_TRUE(run.says("joined: ")) << run.text();
  EXPECT_NE(::kill(frozen, SIGCONT), 0) << "it still lives";

  stop_and_expect_same_bits(run);
  ASSERT_EQ(troupe("events run --kind process_suspected --kind process_fenced"), 0);
  EXPECT_THAT(output_, HasSubstr("pid " + std::to_string(frozen) + ") is silent for "));
  EXPECT_THAT(output_, HasSubstr("pid " + std::to_string(frozen) + ") still lived and was killed"));
}

TEST_F(Silence, WithoutCopiesAFrozenNodeEndsTheRunByName) {
  Background run(command(long_train("--nodes 3 --set cluster.redundancy=0")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  const pid_t frozen = nodes_of(run).at(1);

  ASSERT_EQ(::kill(frozen, SIGSTOP), 0);

  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.text(), HasSubstr("pid " + std::to_string(frozen) + ") is silent for "));
  EXPECT_NE(::kill(frozen, 0), 0) << "it is left behind";
}

TEST_F(Silence, AFrozenLeaderIsKilledAndReplacedAndNoBitChanges) {
  Background run(command(long_train("--nodes 3")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 7 ")) << run.text();
  const pid_t frozen = leader_of(run);
  std::vector<pid_t> nodes = nodes_of(run);

  ASSERT_EQ(::kill(frozen, SIGSTOP), 0);
  ASSERT_TRUE(run.says("leads in its place")) << run.text();
  EXPECT_NE(::kill(frozen, SIGCONT), 0) << "it still lives";
  std::vector<pid_t> still = nodes_of(run);

  std::sort(nodes.begin(), nodes.end());
  std::sort(still.begin(), still.end());
  EXPECT_EQ(still, nodes) << "living processes are not restarted";
  stop_and_expect_same_bits(run);
  EXPECT_THAT(run.text(), HasSubstr("pid " + std::to_string(frozen) + "), which led the run, was silent for "));
}

// A node that dies tells by its end how it died.
TEST_F(Silence, HowANodeDiedIsSaid) {
  Background run(command(long_train("--nodes 2")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();

  ASSERT_EQ(::kill(nodes_of(run).at(0), SIGSEGV), 0);
  ASSERT_TRUE(run.says("joined: ")) << run.text();

  EXPECT_EQ(run.kill(SIGTERM), 128 + SIGTERM) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("was ended by signal 11 (SIGSEGV)"));
}

/// A leader on host-a, nodes on host-b and host-c.
class SilentHost : public Silence {
 protected:
  void SetUp() override {
    Silence::SetUp();
    if (IsSkipped()) return;
    hosts_.emplace(std::vector<std::string>{"host-a", "host-b", "host-c"}, folder_);
    if (!hosts_->why_none().empty()) GTEST_SKIP() << hosts_->why_none();
    run_.emplace(
        hosts_->on("host-a", with_secret(long_train("--nodes 3 --listen 10.0.0.1:7070 --insecure"))),
        folder_ / "run_output");
    near_.emplace(node("host-b"), folder_ / "near");
    far_.emplace(node("host-c"), folder_ / "far");
    ASSERT_TRUE(run_->says("step 5 ")) << run_->text();
  }
  std::string node(const std::string& host) const {
    return hosts_->on(host, with_secret("node --join 10.0.0.1:7070 --insecure"));
  }
  /// Another node on host-b takes the place of that on host-c, and the run ends as if nothing had
  /// been.
  void expect_goes_on() {
    ASSERT_TRUE(run_->says("waiting for a node in its place")) << run_->text();
    EXPECT_LT(seconds_since(begun_), 6.0);
    another_.emplace(node("host-b"), folder_ / "another");
    ASSERT_TRUE(run_->says("joined: ")) << run_->text();
  }
  void expect_same_bits() {
    stop_and_expect_same_bits(*run_);
    EXPECT_EQ(near_->wait(), 0) << near_->text();
    if (!another_) return;
    EXPECT_EQ(another_->wait(), 0) << another_->text();
  }

  std::optional<Hosts> hosts_;
  std::optional<Background> run_, near_, far_, another_;
  Clock::time_point begun_;  // of the silence
};

TEST_F(SilentHost, IsReplacedWhenItsCableIsCutAndDoesNoHarmWhenItIsHealed) {
  begun_ = Clock::now();
  hosts_->at_switch("ip link set host-c down");
  expect_goes_on();
  ASSERT_TRUE(far_->says("is silent for ")) << far_->text();  // before it hears that others are gone
  hosts_->at_switch("ip link set host-c up");

  EXPECT_EQ(far_->wait(), 1);
  EXPECT_THAT(far_->text(), HasSubstr("the run at 10.0.0.1:7070 is silent for "));
  expect_same_bits();
  EXPECT_THAT(run_->text(), HasSubstr("(host-c, pid 1) is silent for "));
}

// On another machine nobody can kill it.
TEST_F(SilentHost, IsReplacedWhenItsProcessIsFrozenWhichChangesNothingWhenItGoesOn) {
  const pid_t frozen = Hosts::program_of(*far_);
  begun_ = Clock::now();
  ASSERT_EQ(::kill(frozen, SIGSTOP), 0);
  expect_goes_on();
  ASSERT_EQ(::kill(frozen, SIGCONT), 0) << "it was killed from another machine";

  EXPECT_EQ(far_->wait(), 1) << far_->text();
  expect_same_bits();
}

TEST_F(SilentHost, IsReplacedWhenItHearsTheOthersButIsNotHeard) {
  begun_ = Clock::now();
  hosts_->at_switch("ip netns exec host-c ip route add blackhole 10.0.0.1/32");
  expect_goes_on();

  expect_same_bits();
}

TEST_F(SilentHost, IsReplacedWhenItIsHeardButHearsNoMore) {
  begun_ = Clock::now();
  hosts_->at_switch("ip netns exec host-a ip route add blackhole 10.0.0.3/32");
  expect_goes_on();

  EXPECT_EQ(far_->wait(), 1) << far_->text();
  EXPECT_THAT(far_->text(), HasSubstr("the run at 10.0.0.1:7070 is silent for "));
  expect_same_bits();
}

TEST_F(SilentHost, IsNotReplacedForShortOutagesOfItsCable) {
  // Each says how many milliseconds it took: sleeping is the least of it on a busy machine.
  std::istringstream outages(hosts_->at_switch(
      "exec nice -n -20 ip netns exec host-c sh -c \"now() { date +%s%3N; }; for i in 1 2 3 4 5; do "
      "begun=\\$(now); ip route add blackhole 10.0.0.1/32; sleep 0.1; ip route del blackhole 10.0.0.1/32; "
      "echo \\$((\\$(now) - begun)); sleep 0.2; done\""));
  int64_t longest = 0;
  for (int64_t one = 0; outages >> one;) longest = std::max(longest, one);
  ASSERT_GE(longest, 100);
  if (longest > 400) GTEST_SKIP() << "an outage was none of a short one: it took " << longest << " ms";

  ASSERT_THAT(run_->text(), Not(HasSubstr("lost: ")));
  expect_same_bits();
  EXPECT_EQ(far_->wait(), 0) << far_->text();
}

}  // namespace
}  // namespace troupe::tests
