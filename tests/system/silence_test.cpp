// Processes that do not end but fall silent: frozen ones, and hosts whose cable is cut. Heartbeats
// say so.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "tests/system/family.h"
#include "tests/system/hosts.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Silence : public SpreadProgramTest {
 protected:
  /// The hash of the same recipe in one process, after so many steps.
  std::string hash_after(int steps) {
    EXPECT_EQ(troupe(long_train("--out straight --set train.steps=" + std::to_string(steps))), 0)
        << output_;
    return last_hash(output_);
  }
};

TEST_F(Silence, AFrozenNodeIsKilledAndReplacedAndNoBitChanges) {
  const std::string wanted = hash_after(60);
  Background run(command(long_train("--nodes 3 --set parallel.data=2 --set train.steps=60")),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 7 ")) << run.text();
  const pid_t frozen = nodes_of(run).at(0);

  ASSERT_EQ(::kill(frozen, SIGSTOP), 0);
  ASSERT_TRUE(run.says("joined: ")) << run.text();
  EXPECT_NE(::kill(frozen, SIGCONT), 0) << "it still lives";

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted) << run.text();
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
  const std::string wanted = hash_after(60);
  Background run(command(long_train("--nodes 3 --set train.steps=60")), folder_ / "beside");
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
  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("pid " + std::to_string(frozen) + "), which led the run, was silent for "));
}

// A node that dies tells by its end how it died.
TEST_F(Silence, HowANodeDiedIsSaid) {
  Background run(command(long_train("--nodes 2 --set train.steps=40")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();

  ASSERT_EQ(::kill(nodes_of(run).at(0), SIGSEGV), 0);

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("was ended by signal 11 (Segmentation fault)"));
}

/// A leader on host-a, nodes on host-b and host-c.
class SilentHost : public Silence {
 protected:
  void SetUp() override {
    Silence::SetUp();
    if (IsSkipped()) return;
    hosts_.emplace(std::vector<std::string>{"host-a", "host-b", "host-c"}, folder_);
    if (!hosts_->why_none().empty()) GTEST_SKIP() << hosts_->why_none();
    wanted_ = hash_after(40);
    run_.emplace(
        hosts_->on("host-a",
                   with_secret(long_train(
                       "--set train.steps=40 --nodes 3 --listen 10.0.0.1:7070 --insecure"))),
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
    EXPECT_EQ(run_->wait(), 0) << run_->text();
    EXPECT_EQ(last_hash(run_->text()), wanted_) << run_->text();
    EXPECT_EQ(near_->wait(), 0) << near_->text();
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
  hosts_->at_switch(
      "for i in 1 2 3 4 5; do ip netns exec host-c ip route add blackhole 10.0.0.1/32; sleep 0.1; "
      "ip netns exec host-c ip route del blackhole 10.0.0.1/32; sleep 0.2; done");

  ASSERT_THAT(run_->text(), Not(HasSubstr("lost: ")));
  EXPECT_EQ(run_->wait(), 0) << run_->text();
  EXPECT_EQ(last_hash(run_->text()), wanted_);
  EXPECT_EQ(far_->wait(), 0) << far_->text();
}

}  // namespace
}  // namespace troupe::tests
