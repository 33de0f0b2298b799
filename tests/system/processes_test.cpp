// Laws 1 to 4 in runs of several processes: the program starts them, or they join; some are killed.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "tests/system/background.h"
#include "tests/system/family.h"
#include "tests/system/long_run.h"

namespace troupe::tests {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class Processes : public LongRunTest {};

TEST_F(Processes, HoweverManyEndWithTheHashOfOne) {
  for (const char* more :
       {"--nodes 2", "--nodes 3 --set parallel.pipeline=2", "--set cluster.nodes=4",
        "--nodes 8 --set parallel.attention=2 --set parallel.expert=4",
        "--nodes 2 --set cluster.threads=2 --set parallel.data=2 --set parallel.optimizer=5"}) {
    std::filesystem::remove_all(folder_ / "run");
    ASSERT_EQ(troupe(train(more)), 0) << more << "\n" << output_;
    EXPECT_EQ(last_hash(output_), wanted_) << more;
  }
}

TEST_F(Processes, ARunOfSeveralIsResumedInAnyNumberOfThem) {
  ASSERT_EQ(troupe(train("--nodes 2 --set train.steps=5 --set train.optimizer.decay=CONSTANT "
                         "--set train.optimizer.warmup_steps=20 --set checkpoint.keep=3")), 0) << output_;
  ASSERT_EQ(troupe("train --resume run --nodes 3 --set train.steps=9"), 0) << output_;
  ASSERT_EQ(troupe("train --resume run --nodes 1 --set train.steps=12"), 0) << output_;
  const std::string found = last_hash(output_);
  ASSERT_EQ(troupe(train("--out straight --set train.optimizer.decay=CONSTANT "
                         "--set train.optimizer.warmup_steps=20")), 0) << output_;
  EXPECT_EQ(found, last_hash(output_));
}

TEST_F(Processes, AModelsFilesAreHandedOutFromTheFirst) {
  std::string one = train("--out one"), two = train("--nodes 3 --out two");
  for (std::string* line : {&one, &two}) {
    for (const char* part : {"--set model.with.vocab_size=270 ", "--set model.with.layers=2 ",
                             "--set model.with.hidden_size=32 "}) {
      line->erase(line->find(part), std::string(part).size());
    }
    *line += " --set model.huggingface=quiet_run/model";
  }
  ASSERT_EQ(troupe(one), 0) << output_;
  const std::string wanted = last_hash(output_);
  ASSERT_EQ(troupe(two), 0) << output_;
  EXPECT_EQ(last_hash(output_), wanted);
  EXPECT_NE(wanted, wanted_);
}

/// Bytes of a process at its highest; 0 when it has gone.
int64_t highest_memory(pid_t pid) {
  const std::string status = read_file("/proc/" + std::to_string(pid) + "/status");
  const size_t at = status.find("VmHWM:");
  return at == std::string::npos ? 0 : 1024 * std::stoll(status.substr(at + 6));
}

// The model that `troupe bench step` is measured with, so that state and activations outweigh the program.
TEST_F(Processes, ANodeTakesTheMemoryThatThePlanSays) {
  const std::string run = std::string(TROUPE_SOURCE_DIR) + "/config/runs/bench_step.textproto";
  const std::string settings = " --set data.text=" + (folder_ / "text.txt").string() +
                               " --set model.with.vocab_size=270 --set data.tokenizer.train.vocab_size=270"
                               " --set train.micro_batch=2 --set train.micro_batches=2"
                               " --set train.steps=3 --set cluster.threads=1";
  ASSERT_EQ(troupe("plan " + run + settings + " --set cluster.nodes=2"), 0) << output_;
  const size_t at = output_.find("process 1  ");
  ASSERT_NE(at, std::string::npos) << output_;
  const double planned = std::stod(output_.substr(at + 11)) * 1048576;

  Background leader(command("train " + run + settings + " --nodes 2 --out run"), folder_ / "leader");
  int64_t highest = 0;
  while (!leader.has_ended()) {
    for (const pid_t node : nodes_of(leader)) highest = std::max(highest, highest_memory(node));
    ::usleep(1000);
  }

  EXPECT_NEAR(static_cast<double>(highest), planned, 0.15 * planned);
}

// Law 3 across processes: the actor is started again where it lived, the step in every process.
TEST_F(Processes, KilledActorsOfOtherProcessesChangeNoBit) {
  ASSERT_EQ(troupe(train("--nodes 3 --set parallel.data=2 --set parallel.expert=2 "
                         "--kill expert_shard/1@3:forward --kill crew/2@4:prepare "
                         "--kill optimizer_shard/1@6:apply --fail stage/1@9:backward "
                         "--random-kills 7:6")), 0) << output_;
  EXPECT_EQ(last_hash(output_), wanted_);
  EXPECT_THAT(output_, Not(HasSubstr("was not reached")));
  ASSERT_EQ(troupe("events run --kind failpoint"), 0);
  EXPECT_THAT(output_, HasSubstr("kill crew/2@4:prepare"));
}

// Laws 3 and 4: what a killed process held is with its buddy; another takes its place.
TEST_F(Processes, ANodeThatIsKilledIsReplacedAndNoBitChanges) {
  const char* layouts[] = {"--nodes 2", "--nodes 3 --set parallel.pipeline=2 --set parallel.expert=2",
                           "--nodes 4 --set parallel.data=2 --set parallel.optimizer=8"};
  for (int round = 0; round < 3; ++round) {
    std::filesystem::remove_all(folder_ / "run");
    SCOPED_TRACE(layouts[round]);
    Background run(command(long_train(std::string(layouts[round]) + " --set checkpoint.every=20")),
                   folder_ / ("beside" + std::to_string(round)));
    int killed = 0;
    for (const int step : {7, 40, 80, 120}) {  // a checkpoint is gathered behind all but the first
      ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
      const std::vector<pid_t> nodes = nodes_of(run);
      ASSERT_FALSE(nodes.empty()) << run.text();
      ASSERT_EQ(::kill(nodes[static_cast<size_t>(killed) % nodes.size()], SIGKILL), 0);
      ASSERT_TRUE(says(run, "joined: ", ++killed)) << run.text();
    }
    stop_and_expect_same_bits(run);
    ASSERT_EQ(troupe("events run --kind process_joined"), 0) << output_;
    EXPECT_EQ(std::count(output_.begin(), output_.end(), '\n'), 4) << output_;
  }
}

TEST_F(Processes, ARunThatWaitsForANodeEndsWhenItIsToldTo) {
  ASSERT_EQ(troupe(long_train("--out straight --set train.steps=40")), 0) << output_;
  const std::string wanted = last_hash(output_);
  Background run(with_secret(long_train("--nodes 2 --listen 127.0.0.1:0 --set train.steps=40")),
                 folder_ / "beside");
  Background node(with_secret("node --join 127.0.0.1:" + port_of(run)), folder_ / "node");
  ASSERT_TRUE(run.says("step 7 ")) << run.text();
  ::kill(node.pid(), SIGKILL);
  ASSERT_TRUE(run.says("waiting for a node in its place")) << run.text();

  ::kill(run.pid(), SIGTERM);

  EXPECT_EQ(run.wait(), 143) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("stopped by SIGTERM while nobody was there for process 1 "));
  ASSERT_EQ(troupe("train --resume run --nodes 1"), 0) << output_;
  EXPECT_EQ(last_hash(output_), wanted);
}

TEST_F(Processes, ANodeThatIsToldToStopEndsAndIsReplaced) {
  ASSERT_EQ(troupe(long_train("--out straight --set train.steps=60")), 0) << output_;
  const std::string wanted = last_hash(output_);
  Background run(command(long_train("--nodes 3 --set train.steps=60")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 7 ")) << run.text();
  const std::vector<pid_t> nodes = nodes_of(run);
  ASSERT_EQ(nodes.size(), 2u);

  ::kill(nodes[1], SIGTERM);

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted) << run.text();
  // Its last words, or its end.
  EXPECT_THAT(run.text(), ContainsRegex("lost: process [12] .*pid " + std::to_string(nodes[1]) +
                                        ".*(stopped by SIGTERM|ended with code 143)"));
  EXPECT_THAT(run.text(), ContainsRegex("joined: process [12] "));
}

TEST_F(Processes, WhoIsKilledBeforeItHasTakenALostOnesPlaceIsReplacedToo) {
  Background run(command(long_train("--nodes 3")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 20 ")) << run.text();
  std::vector<pid_t> known = nodes_of(run);
  ASSERT_EQ(known.size(), 2u);
  ::kill(known[0], SIGKILL);
  for (int killed = 0; killed < 3 && !run.has_ended();) {
    for (const pid_t node : nodes_of(run)) {
      if (std::find(known.begin(), known.end(), node) != known.end()) continue;
      ::kill(node, SIGKILL);  // as soon as it is there
      known.push_back(node);
      ++killed;
    }
  }
  ASSERT_TRUE(run.says("joined: ")) << run.text();
  stop_and_expect_same_bits(run);
}

// Until the frozen one is noticed it does not reach the newcomer, who begins no step meanwhile.
TEST_F(Processes, ANodeThatIsKilledWhileAnotherIsFrozenIsReplacedToo) {
  Background run(command(long_train("--nodes 4 --set parallel.data=2 --set parallel.expert=2")), folder_ / "beside");
  for (const int step : {6, 27}) {
    ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
    const std::vector<pid_t> nodes = nodes_of(run);
    ASSERT_EQ(nodes.size(), 3u) << run.text();
    ::kill(nodes[0], SIGSTOP);
    ::kill(nodes[2], SIGKILL);
  }
  ASSERT_TRUE(run.says("step 50 ")) << run.text();
  stop_and_expect_same_bits(run);
}

// Whoever is to take its place may come in a day: beginnings without it are none.
TEST_F(Processes, ANodeThatIsLostIsWaitedForHoweverShortTheDeadlines) {
  Background leader(with_secret(long_train("--nodes 2 --listen 127.0.0.1:0 --set cluster.step_deadline=0.3")),
                    folder_ / "leader");
  const std::string port = port_of(leader);
  Background first(with_secret("node --join 127.0.0.1:" + port), folder_ / "first");
  ASSERT_TRUE(leader.says("step 7 ")) << leader.text();
  first.kill(SIGKILL);
  ASSERT_TRUE(leader.says("waiting for a node in its place")) << leader.text();

  ::usleep(12'000'000);  // of 20 beginnings, each with its deadline, and more
  ASSERT_FALSE(leader.has_ended()) << leader.text();
  Background second(with_secret("node --join 127.0.0.1:" + port), folder_ / "second");

  ASSERT_TRUE(leader.says("joined: ")) << leader.text();
  stop_and_expect_same_bits(leader);
  EXPECT_EQ(second.wait(), 0) << second.text();
}

TEST_F(Processes, WithoutBuddiesANodeThatIsKilledEndsTheRunByNameAndAResumeEndsInTheHash) {
  const std::string arguments = long_train("--nodes 3 --set parallel.data=2 --set cluster.redundancy=0");
  {
    Background run(command(arguments), folder_ / "beside");
    ASSERT_TRUE(run.says("step 7 ")) << run.text();
    const std::vector<pid_t> nodes = nodes_of(run);
    ASSERT_EQ(nodes.size(), 2u);
    const pid_t node = nodes[1];
    ASSERT_EQ(::kill(node, SIGKILL), 0);
    EXPECT_EQ(run.wait(), 1);
    EXPECT_THAT(run.text(), HasSubstr("troupe: process "));
    EXPECT_THAT(run.text(), HasSubstr("pid " + std::to_string(node)));
    EXPECT_THAT(run.text(), HasSubstr("troupe train --resume run goes on"));
    for (const pid_t pid : nodes) EXPECT_NE(::kill(pid, 0), 0) << pid << " is left behind";
  }
  ASSERT_EQ(troupe("train --resume run --set train.steps=60"), 0) << output_;
  const std::string found = last_hash(output_);
  ASSERT_EQ(troupe(long_train("--out straight --set train.steps=60")), 0) << output_;
  EXPECT_EQ(found, last_hash(output_));
}

TEST_F(Processes, NodesOfARunThatIsKilledEnd) {
  Background run(command(long_train("--nodes 3")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  std::vector<int> nodes;
  for (const pid_t pid : nodes_of(run)) {
    nodes.push_back(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  }
  ASSERT_EQ(nodes.size(), 2u);
  nodes.push_back(static_cast<int>(::syscall(SYS_pidfd_open, leader_of(run), 0)));
  run.kill(SIGKILL);
  for (const int node : nodes) {
    pollfd one{node, POLLIN, 0};
    EXPECT_EQ(::poll(&one, 1, 20'000), 1) << "a process goes on without the run's";
    ::close(node);
  }
}

TEST_F(Processes, ASignalEndsARunOfSeveralAfterTheStepWithACheckpoint) {
  Background run(command(long_train("--nodes 2")), folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  EXPECT_EQ(run.kill(SIGINT), 130) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("stopped by SIGINT after step"));
  EXPECT_THAT(run.text(), Not(HasSubstr("process 1")));
  ASSERT_EQ(troupe("checkpoint verify run"), 0) << output_;
}

TEST_F(Processes, NodesJoinARunThatWaitsForThem) {
  Background leader(with_secret(train("--nodes 3 --listen 127.0.0.1:0")), folder_ / "leader");
  const std::string port = port_of(leader);
  Background stranger(command("node --join 127.0.0.1:" + port), folder_ / "stranger");
  EXPECT_EQ(stranger.wait(), 1);
  EXPECT_THAT(stranger.text(), HasSubstr("found no cluster secret, wanted that of the run"));
  std::string other = with_secret("node --join 127.0.0.1:" + port);
  other.replace(other.find("sixteen"), 7, "seventeen");
  Background impostor(other, folder_ / "impostor");
  EXPECT_EQ(impostor.wait(), 1);
  EXPECT_THAT(impostor.text(), HasSubstr("has refused this node: the cluster secret differs"));

  Background first(with_secret("node --join 127.0.0.1:" + port), folder_ / "first");
  Background second(with_secret("node --join localhost:" + port), folder_ / "second");
  EXPECT_EQ(leader.wait(), 0) << leader.text();
  EXPECT_EQ(last_hash(leader.text()), wanted_);
  EXPECT_THAT(leader.text(), HasSubstr("was refused: the cluster secret differs"));
  EXPECT_EQ(first.wait(), 0) << first.text();
  EXPECT_EQ(second.wait(), 0) << second.text();
}

TEST_F(Processes, WhatCannotBeIsSaidAtOnce) {
  EXPECT_EQ(troupe(train("--nodes 2 --listen 127.0.0.1:0")), 1);
  EXPECT_THAT(output_, HasSubstr("found no cluster secret, wanted one in TROUPE_SECRET"));
  EXPECT_EQ(troupe(train("--nodes 2 --listen 0.0.0.0:0")), 1);
  EXPECT_THAT(output_, HasSubstr("--listen 0.0.0.0:0: other machines reach this address"));
  EXPECT_EQ(troupe("node --join 127.0.0.1:1 --wait 0"), 1);
  EXPECT_EQ(troupe("node --join 127.0.0.1"), 1);
  EXPECT_THAT(output_, HasSubstr("found the address '127.0.0.1', wanted HOST:PORT"));
  EXPECT_EQ(troupe("node --join http://127.0.0.1:1"), 1);
  EXPECT_THAT(output_, HasSubstr("wanted http://HOST:PORT/NAME"));
  EXPECT_EQ(troupe(train("--nodes 0")), 2);
  const std::string standby = "--nodes 2 --listen 127.0.0.1:0 --standby --secret secret ";
  std::ofstream(folder_ / "secret") << "sixteen-bytes-or-more";
  std::filesystem::permissions(folder_ / "secret", std::filesystem::perms(0600));
  EXPECT_EQ(troupe(train(standby)), 1);
  EXPECT_THAT(output_, HasSubstr("--standby: found no cluster.lease in the run"));
  const std::string lease =
      "--set cluster.lease.etcd=http://127.0.0.1:1 --set cluster.lease.name=a-run ";
  EXPECT_EQ(troupe(train("--nodes 2 " + lease)), 1);
  EXPECT_THAT(output_, HasSubstr("cluster.lease: found no --listen"));
  EXPECT_EQ(troupe(train(standby + lease)), 1);
  EXPECT_THAT(output_, HasSubstr("etcd: cannot reach 127.0.0.1:1: "));
  EXPECT_EQ(troupe(train("--nodes 2 --set train.unit_hashes=true")), 1);
  EXPECT_THAT(output_, HasSubstr("train.unit_hashes: found true with cluster.nodes 2"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

}  // namespace
}  // namespace troupe::tests
