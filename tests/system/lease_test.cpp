// A run that a lease of etcd leads: the host that leads may go, and a standby goes on, whatever becomes of
// the host, of etcd, or of the cables between them.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <list>
#include <optional>

#include "tests/etcd_server.h"
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

/// Everything that a process has started, the deepest last.
std::vector<pid_t> family_of(pid_t pid) {
  std::vector<pid_t> family{pid};
  for (size_t i = 0; i < family.size(); ++i) {
    for (const pid_t child : children_of(family[i])) family.push_back(child);
  }
  return family;
}

class LeaseProgramTest : public LongRunTest {
 protected:
  void SetUp() override {
    LongRunTest::SetUp();
    if (IsSkipped()) return;
    if (etcd_program().empty()) GTEST_SKIP() << why_no_etcd;
  }
  static constexpr int far_off = 100'000;  // no run gets there: it is ended
  static std::string steps(int n) { return " --set train.steps=" + std::to_string(n) + " "; }
  static std::string leased(const std::string& etcd, const std::string& folder) {
    return "--nodes 3 --out " + folder + " --set cluster.lease.etcd=" + etcd +
           " --set cluster.lease.name=a-run ";
  }
  /// Whoever leads by now, by its steps; the first if both end.
  Background& leading() {
    const int seen = std::max(last_step(*first_), last_step(*standby_));
    while (!first_->has_ended() || !standby_->has_ended()) {
      for (Background* one : {&*first_, &*standby_}) {
        if (last_step(*one) >= seen + 5) return *one;
      }
      ::usleep(10'000);
    }
    ADD_FAILURE() << first_->text() << "\n----\n" << standby_->text();
    return *first_;
  }
  /// Whoever leads by now is told to stop: it has the bits of one process there, and all others end with it.
  void expect_same_bits() {
    Background& leads = leading();
    Background& other = &leads == &*first_ ? *standby_ : *first_;
    stop_and_expect_same_bits(leads);
    EXPECT_EQ(other.wait(), 0) << other.text();
    EXPECT_THAT(other.text(), HasSubstr("the run has ended elsewhere"));
    expect_nodes_end();
  }
  void expect_nodes_end() {
    for (Background& one : nodes_) EXPECT_EQ(one.wait(), 0) << one.text();
  }
  void signal_all(const Background& background, int signal) {
    for (const pid_t pid : family_of(background.pid())) ::kill(pid, signal);
  }

  std::optional<Background> first_, standby_;
  std::list<Background> nodes_;
};

/// All on this host, with an etcd of their own.
class Lease : public LeaseProgramTest {
 protected:
  void SetUp() override {
    LeaseProgramTest::SetUp();
    if (IsSkipped()) return;
    etcd_.emplace(folder_);
  }
  std::string leader(const std::string& folder, const std::string& more) {
    return with_secret(long_train(leased(etcd_->url(), folder) + "--listen 127.0.0.1:0 " + more));
  }
  std::string node() { return with_secret("node --join " + etcd_->url() + "/a-run"); }
  void start(int n_steps) {
    first_.emplace(leader("first", steps(n_steps)), folder_ / "first_output");
    standby_.emplace(leader("second", steps(n_steps) + "--standby"), folder_ / "second_output");
    // Without nodes the run does not begin, so it cannot end before everybody is there.
    ASSERT_TRUE(standby_->says("note: standing by: process 0 of term ")) << standby_->text();
    join("node");
  }
  void join(const std::string& name) {
    for (int i = 0; i < 2; ++i) nodes_.emplace_back(node(), folder_ / (name + std::to_string(i)));
  }

  std::optional<EtcdServer> etcd_;
};

TEST_F(Lease, InPeaceTheStandbyEndsWithTheRun) {
  const std::string wanted = hash_after(20);
  start(20);

  EXPECT_EQ(first_->wait(), 0) << first_->text();
  EXPECT_EQ(last_hash(first_->text()), wanted);
  EXPECT_EQ(standby_->wait(), 0) << standby_->text();
  EXPECT_THAT(standby_->text(), HasSubstr("the run has ended elsewhere: step 20 of 20"));
  expect_nodes_end();
}

TEST_F(Lease, AStandbyGoesOnWithTheLivingNodesWhenTheHostThatLeadsIsLost) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();

  signal_all(*first_, SIGKILL);
  const auto lost = Clock::now();
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();
  EXPECT_LT(seconds_since(lost), 10.0);
  ASSERT_TRUE(standby_->says("step 40 ")) << standby_->text();

  stop_and_expect_same_bits(*standby_);
  EXPECT_THAT(standby_->text(), HasSubstr("which led the run, has lost its lease"));
  EXPECT_THAT(standby_->text(), Not(HasSubstr("note: going on from state"))) << "nodes held all";
  expect_nodes_end();
}

// It looks for whoever leads next for a minute.
TEST_F(Lease, ANodeThatNobodyLeadsAnyMoreEndsWhenItIsToldTo) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();
  signal_all(*standby_, SIGKILL);
  signal_all(*first_, SIGKILL);
  const auto rules = etcd_->place("a-run").rules();
  auto client = etcd_->place("a-run").client();
  while (rules.view_of(client.run(rules.look())).holder) ::usleep(10'000);

  const auto told = Clock::now();
  for (Background& one : nodes_) ASSERT_EQ(::kill(program_of(one), SIGTERM), 0);

  for (Background& one : nodes_) {
    EXPECT_EQ(one.wait(), 128 + SIGTERM) << one.text();
    EXPECT_THAT(one.text(), HasSubstr("stopped by SIGTERM"));
  }
  EXPECT_LT(seconds_since(told), 10.0);
}

TEST_F(Lease, AFrozenHostThatGoesOnAfterTheTakeoverChangesNothingAndStandsBy) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();

  signal_all(*first_, SIGSTOP);
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();
  const std::string said = first_->text();
  signal_all(*first_, SIGCONT);
  // Whether it hears first that the lease has ended, or that its nodes are gone, is open.
  ASSERT_TRUE(first_->says("standing by: process 0 of term 2")) << first_->text();

  expect_same_bits();
  ASSERT_EQ(troupe("events first --kind process_fenced"), 0);
  EXPECT_THAT(output_, HasSubstr("this process leads no more: "));
  EXPECT_THAT(output_, Not(HasSubstr("was killed"))) << "nodes are the other's by then";
}

TEST_F(Lease, AProcessThatLedIsFollowedOnItsOwnHostAtOnce) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();

  ASSERT_EQ(::kill(leader_of(*first_), SIGKILL), 0);
  ASSERT_TRUE(first_->says("leads in its place")) << first_->text();
  ASSERT_TRUE(standby_->says("process 0 of term 2")) << standby_->text();

  expect_same_bits();
}

TEST_F(Lease, EtcdThatIsKilledAndComesBackIsWaitedFor) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();

  etcd_->kill();
  ASSERT_TRUE(first_->says("alarm: the journal waits: etcd: ")) << first_->text();
  ::usleep(3'000'000);  // longer than the lease
  etcd_->start();
  ASSERT_TRUE(first_->says("alarm: the journal goes on")) << first_->text();

  expect_same_bits();
}

// Whether its lease has ended meanwhile, and who leads then, is etcd's to say: no bit depends on it.
TEST_F(Lease, AnEtcdThatStandsStillForLongerThanTheLeaseChangesNoBit) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();

  ASSERT_EQ(::kill(etcd_->pid(), SIGSTOP), 0);
  ASSERT_TRUE(first_->says("alarm: the journal waits: etcd: ")) << first_->text();
  ::usleep(4'000'000);
  ASSERT_EQ(::kill(etcd_->pid(), SIGCONT), 0);

  expect_same_bits();
}

// The plan that a standby takes over is that of the nodes, whatever the command said.
TEST_F(Lease, AStandbyGoesOnWithTheProcessesThatTheRunHasByThen) {
  start(far_off);
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();
  nodes_.emplace_back(node(), folder_ / "joins");
  ASSERT_TRUE(first_->says("4 processes from step")) << first_->text();
  ASSERT_TRUE(first_->says("step 30 ")) << first_->text();

  signal_all(*first_, SIGKILL);
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();
  ASSERT_TRUE(standby_->says("step 60 ")) << standby_->text();

  stop_and_expect_same_bits(*standby_);
  EXPECT_THAT(standby_->text(), Not(HasSubstr("note: going on from state"))) << "nodes held all";
  expect_nodes_end();
}

// With all copies lost, what both hosts share is the checkpoints.
TEST_F(Lease, AStandbyBeginsAtTheNewestSharedCheckpointWhenTheNodesAreLostToo) {
  const std::string shared = " --set checkpoint.folder=shared ";
  first_.emplace(leader("first", shared), folder_ / "first_output");
  standby_.emplace(leader("second", shared + "--standby"), folder_ / "second_output");
  ASSERT_TRUE(standby_->says("note: standing by: process 0 of term ")) << standby_->text();
  join("node");
  ASSERT_TRUE(first_->says("step 18 ")) << first_->text();

  signal_all(*first_, SIGKILL);
  nodes_.clear();
  ASSERT_TRUE(standby_->says("waiting for 2 nodes")) << standby_->text();
  join("another");
  ASSERT_TRUE(standby_->says("step 30 ")) << standby_->text();

  stop_and_expect_same_bits(*standby_);
  EXPECT_THAT(standby_->text(), HasSubstr("note: going on from state 1"));  // 10 or 15
  expect_nodes_end();
}

TEST_F(Lease, ARunIsBegunOnceAndGoesOnInItsFolderBehindAStop) {
  start(far_off);
  Background another(leader("third", steps(far_off)), folder_ / "third_output");
  EXPECT_EQ(another.wait(), 1);
  EXPECT_THAT(another.text(), HasSubstr("has a run of the name a-run already"));
  Background other(leader("fourth", steps(41) + "--standby"), folder_ / "fourth_output");
  EXPECT_EQ(other.wait(), 1);
  EXPECT_THAT(other.text(), HasSubstr("has another recipe, model or data than this one"));
  ASSERT_TRUE(first_->says("step 7 ")) << first_->text();
  expect_same_bits();
  const std::string next = "\nstep " + std::to_string(stopped_after(first_->text()) + 5) + " ";

  Background resumed(with_secret("train --resume first --listen 127.0.0.1:0"), folder_ / "resumed");
  nodes_.clear();
  join("again");
  ASSERT_TRUE(resumed.says(next)) << resumed.text();

  stop_and_expect_same_bits(resumed);
  expect_nodes_end();
}

// A standby is there for times in which things do not work.
TEST_F(Lease, AStandbyOutlivesAnEtcdThatIsAwayBeforeTheRunBegins) {
  standby_.emplace(leader("second", "--standby"), folder_ / "second_output");
  ASSERT_TRUE(standby_->says("no run of the name a-run has begun")) << standby_->text();

  etcd_->kill();
  ASSERT_TRUE(standby_->says("note: waiting for etcd: ")) << standby_->text();
  etcd_->start();
  first_.emplace(leader("first", ""), folder_ / "first_output");

  EXPECT_TRUE(standby_->says("note: standing by: process 0 of term 1")) << standby_->text();
}

/// A leader on host-a, a standby on host-b, nodes on host-c and host-d, etcd on host-e.
class LeasePartition : public LeaseProgramTest {
 protected:
  void SetUp() override {
    LeaseProgramTest::SetUp();
    if (IsSkipped()) return;
    hosts_.emplace(std::vector<std::string>{"host-a", "host-b", "host-c", "host-d", "host-e"}, folder_);
    if (!hosts_->why_none().empty()) GTEST_SKIP() << hosts_->why_none();
    etcd_.emplace(hosts_->on("host-e", etcd_line("/dev/shm", "10.0.0.5", 2379, 2380)),  // its own
                  folder_ / "etcd_output");
    ASSERT_TRUE(etcd_->says("ready to serve client requests")) << etcd_->text();
    first_.emplace(leader("host-a", "10.0.0.1", "first", ""), folder_ / "first_output");
    standby_.emplace(leader("host-b", "10.0.0.2", "second", "--standby"), folder_ / "second_output");
    nodes_.emplace_back(node("host-c"), folder_ / "node_c");
    nodes_.emplace_back(node("host-d"), folder_ / "node_d");
    ASSERT_TRUE(standby_->says("note: standing by: process 0 of term ")) << standby_->text();
    ASSERT_TRUE(first_->says("step 5 ")) << first_->text();
  }
  std::string leader(const std::string& host, const std::string& address, const std::string& folder,
                     const std::string& more) {
    return hosts_->on(host, with_secret(long_train(leased("http://10.0.0.5:2379", folder) +
                                                   steps(far_off) + "--set checkpoint.folder=shared --listen " +
                                                   address + ":7070 --insecure " + more)));
  }
  std::string node(const std::string& host) {
    return hosts_->on(host, with_secret("node --join http://10.0.0.5:2379/a-run --insecure"));
  }
  void at(const std::string& line) { hosts_->at_switch(line); }
  /// Frames between these hosts go nowhere, or go again.
  void cut(const std::vector<std::pair<std::string, int>>& ways) {
    for (const auto& [host, to] : ways) {
      at("ip netns exec " + host + " ip route add blackhole 10.0.0." + std::to_string(to) + "/32");
    }
  }
  void heal(const std::vector<std::pair<std::string, int>>& ways) {
    for (const auto& [host, to] : ways) {
      at("ip netns exec " + host + " ip route del blackhole 10.0.0." + std::to_string(to) + "/32");
    }
  }

  std::optional<Hosts> hosts_;
  std::optional<Background> etcd_;
};

TEST_F(LeasePartition, TheSideWithEtcdGoesOnWhenTheLeadersCableIsCutAndTheLeaderStandsByWhenItIsHealed) {
  at("ip link set host-a down");
  const auto cut = Clock::now();
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();
  EXPECT_LT(seconds_since(cut), 10.0);
  ASSERT_TRUE(standby_->says("step 12 ")) << standby_->text();
  at("ip link set host-a up");
  ASSERT_TRUE(first_->says("standing by: process 0 of term 2 (host-b")) << first_->text();

  expect_same_bits();
}

// The nodes are the majority, and do not decide: etcd does.
TEST_F(LeasePartition, ALeaderWithEtcdWaitsForTheNodesBehindTheCutWhichComeBackByThemselves) {
  at("ip link set host-c down; ip link set host-d down; ip link set host-b down");
  ASSERT_TRUE(first_->says("another process leads on from the newest checkpoint")) << first_->text();
  at("ip link set host-c up; ip link set host-d up; ip link set host-b up");

  expect_same_bits();
}

// The lease is of no use to who reaches no node.
TEST_F(LeasePartition, ALeaderThatReachesEtcdAndNoNodeIsFollowedByOneThatReachesBoth) {
  cut({{"host-a", 3}, {"host-a", 4}});
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();

  expect_same_bits();
  EXPECT_GT(stopped_after(standby_->text()), 0) << "it led to the end";
}

TEST_F(LeasePartition, ANodeBehindACutComesBackByItself) {
  at("ip link set host-d down");
  ASSERT_TRUE(first_->says("waiting for a node in its place")) << first_->text();
  at("ip link set host-d up");

  expect_same_bits();
  EXPECT_THAT(nodes_.back().text(), HasSubstr("this node comes again with nothing"));
}

TEST_F(LeasePartition, ALeaderThatOnlyEtcdDoesNotHearIsFollowed) {
  cut({{"host-a", 5}});
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();
  heal({{"host-a", 5}});
  ASSERT_TRUE(first_->says("standing by: process 0 of term 2")) << first_->text();

  expect_same_bits();
}

TEST_F(LeasePartition, ALeaderThatHearsNobodyIsFollowed) {
  const std::vector<std::pair<std::string, int>> ways{
      {"host-b", 1}, {"host-c", 1}, {"host-d", 1}, {"host-e", 1}};
  cut(ways);
  ASSERT_TRUE(standby_->says("leads in its place")) << standby_->text();
  heal(ways);

  expect_same_bits();
}

TEST_F(LeasePartition, AFlappingCableOfTheLeaderChangesNoBit) {
  at("for i in 1 2 3 4 5 6; do ip link set host-a down; sleep 0.3; ip link set host-a up; sleep 0.4; done");
  at("for i in 1 2 3; do ip link set host-a down; sleep 1.2; ip link set host-a up; sleep 1; done");

  expect_same_bits();
}

}  // namespace
}  // namespace troupe::tests
