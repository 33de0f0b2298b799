// Laws 3 and 4 when the process that leads is lost: another leads on, with the processes that live
// and what they hold; from the newest checkpoint where that is not all.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>

#include "runtime/cluster/join/frame_socket.h"
#include "tests/system/family.h"
#include "tests/system/long_run.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

class LeaderTest : public LongRunTest {
 protected:
  static void kill(pid_t pid) {
    ASSERT_GT(pid, 0);
    EXPECT_EQ(::kill(pid, SIGKILL), 0);
  }
};

TEST_F(LeaderTest, IsReplacedWithTheSameBitsWhileTheOthersLiveOn) {
  int round = 0;
  for (const char* layout : {"--nodes 2 --set parallel.pipeline=2",
                             "--nodes 4 --set parallel.data=2 --set parallel.expert=2"}) {
    std::filesystem::remove_all(folder_ / "run");
    SCOPED_TRACE(layout);
    Background run(command(long_train(layout)), folder_ / ("beside" + std::to_string(round++)));
    ASSERT_TRUE(run.says("step 2 ")) << run.text();
    std::vector<pid_t> nodes = nodes_of(run);
    for (const int step : {3, 40, 81}) {  // behind some of them a checkpoint is gathered
      ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
      kill(leader_of(run));
    }
    ASSERT_TRUE(run.says("step 120 ")) << run.text();
    std::vector<pid_t> still = nodes_of(run);
    std::sort(nodes.begin(), nodes.end());
    std::sort(still.begin(), still.end());
    EXPECT_EQ(still, nodes) << "living processes are not restarted";
    stop_and_expect_same_bits(run);
    EXPECT_THAT(run.text(), HasSubstr("which led the run, was ended by signal 9 (SIGKILL)"));
    ASSERT_EQ(troupe("checkpoint verify run"), 0) << output_;
  }
}

TEST_F(LeaderTest, IsReplacedAlsoWhileStrangersConnectAndSayNothing) {
  Background run(with_secret(long_train("--nodes 2 --listen 127.0.0.1:0")), folder_ / "beside");
  const std::string port = port_of(run);
  Background node(with_secret("node --join 127.0.0.1:" + port), folder_ / "node");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  std::vector<runtime::FrameSocket> strangers;
  for (int i = 0; i < 3; ++i) {
    strangers.push_back(runtime::FrameSocket::connect(runtime::parse_endpoint("127.0.0.1:" + port),
                                                      runtime::within(std::chrono::seconds(5))));
    if (i == 1) kill(leader_of(run));
  }

  ASSERT_TRUE(run.says("leads in its place")) << run.text();
  ASSERT_TRUE(run.says("step 40 ")) << run.text();
  stop_and_expect_same_bits(run);
  EXPECT_EQ(node.wait(), 0) << node.text();
}

// Nobody is left to say behind which step the run ends.
TEST_F(LeaderTest, ThatIsLostAsItIsToldToStopEndsTheRunWithAWordOfHowItGoesOn) {
  Background run(command(long_train("--nodes 2")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 5 ")) << run.text();
  const pid_t supervisor = program_of(run);
  ASSERT_EQ(::kill(supervisor, SIGSTOP), 0);  // both words are there when it goes on
  kill(leader_of(run));
  ASSERT_EQ(::kill(supervisor, SIGTERM), 0);
  ASSERT_EQ(::kill(supervisor, SIGCONT), 0);
  const auto told = std::chrono::steady_clock::now();

  EXPECT_EQ(run.wait(), 128 + SIGTERM) << run.text();
  EXPECT_LT(std::chrono::steady_clock::now() - told, std::chrono::seconds(8)) << "its node does not wait for another";
  EXPECT_THAT(run.text(), HasSubstr("troupe: stopped by SIGTERM; process 0 (pid "));
  EXPECT_THAT(run.text(), HasSubstr("which led the run, was ended by signal 9 (SIGKILL); troupe train --resume "));
  Background resumed(command("train --resume run"), folder_ / "resumed");
  ASSERT_TRUE(resumed.says("\nstep " + std::to_string(last_step(run) + 5) + " ")) << resumed.text();
  stop_and_expect_same_bits(resumed);
}

TEST_F(LeaderTest, ThatIsKilledWhenAnotherHasBeenReplacedChangesNoBitEither) {
  Background run(command(long_train("--nodes 3")), folder_ / "beside");
  for (const int step : {4, 22, 40, 58, 76, 94}) {
    ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
    kill(step % 36 == 4 ? leader_of(run) : nodes_of(run).at(0));
  }
  ASSERT_TRUE(run.says("step 120 ")) << run.text();
  stop_and_expect_same_bits(run);
}

// Who takes the leader's place and who takes the node's own weights that the other lacks.
TEST_F(LeaderTest, ThatIsLostWithANodeAtOnceChangesNoBitEither) {
  Background run(command(long_train("--nodes 4 --set parallel.data=2 --set parallel.expert=2")),
                 folder_ / "beside");
  for (const int step : {4, 23, 42}) {
    ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
    const std::vector<pid_t> nodes = nodes_of(run);
    kill(leader_of(run));
    ::kill(nodes.at(static_cast<size_t>(step) % nodes.size()), SIGKILL);
  }
  ASSERT_TRUE(run.says("step 60 ")) << run.text();
  stop_and_expect_same_bits(run);
}

// A takeover that fails leaves nodes behind that have no state yet.
TEST_F(LeaderTest, ThatIsLostWhileItTakesOverChangesNoBitEither) {
  Background run(command(long_train("--nodes 4 --set parallel.data=2 --set parallel.expert=2")),
                 folder_ / "beside");
  for (const int step : {4, 31}) {
    ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
    std::vector<pid_t> nodes = nodes_of(run);
    const pid_t leader = leader_of(run);
    kill(leader);
    ::kill(nodes.at(static_cast<size_t>(step) % nodes.size()), SIGKILL);
    // The next one is lost as soon as there is somebody in the node's place.
    const auto has_newcomer = [&] {
      const std::vector<pid_t> now = nodes_of(run);
      return std::any_of(now.begin(), now.end(), [&](pid_t pid) {
        return pid != leader && std::find(nodes.begin(), nodes.end(), pid) == nodes.end();
      });
    };
    while (!run.has_ended() && !has_newcomer()) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(step) * 1000);
    const pid_t next = leader_of(run);
    if (next > 0) ::kill(next, SIGKILL);
  }
  ASSERT_TRUE(run.says("step 50 ")) << run.text();
  stop_and_expect_same_bits(run);
}

TEST_F(LeaderTest, GoesOnFromTheNewestCheckpointWhenBothCopiesAreLost) {
  Background run(command(long_train("--nodes 3")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 13 ")) << run.text();
  // A leader and its nodes; nobody is left with what any of them held.
  for (const pid_t node : nodes_of(run)) kill(node);
  kill(leader_of(run));
  ASSERT_TRUE(run.says("step 33 ")) << run.text();
  for (const pid_t node : nodes_of(run)) kill(node);
  ASSERT_TRUE(run.says("step 60 ")) << run.text();
  stop_and_expect_same_bits(run);
  EXPECT_THAT(run.text(), HasSubstr("note: going on from state "));
}

TEST_F(LeaderTest, WithoutCopiesIsReplacedByOneThatBeginsAtTheNewestCheckpoint) {
  Background run(command(long_train("--nodes 2 --set cluster.redundancy=0")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 18 ")) << run.text();
  kill(leader_of(run));
  ASSERT_TRUE(run.says("step 60 ")) << run.text();
  stop_and_expect_same_bits(run);
}

TEST_F(LeaderTest, ThatIsLostAgainAndAgainEndsTheRun) {
  Background run(command(long_train("--nodes 2")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  for (pid_t last = 0; !run.has_ended();) {
    const pid_t leader = leader_of(run);
    if (leader == 0 || leader == last) continue;
    ::kill(leader, SIGKILL);  // before it has come to anything
    last = leader;
  }
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.text(), HasSubstr("were lost without a step between them"));
}

}  // namespace
}  // namespace troupe::tests
