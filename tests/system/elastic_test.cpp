// Nodes join a run that is under way, and leave it: no bit changes, and nobody who stays is restarted.
#include <gmock/gmock.h>

#include <optional>

#include "tests/system/background.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

class ElasticTest : public SpreadProgramTest {
 protected:
  /// A node that joins a leader which has said where it listens.
  std::unique_ptr<Background> node(Background& leader, const std::string& name) const {
    EXPECT_TRUE(leader.says("troupe node --join ")) << leader.text();
    const std::string text = leader.text();
    const size_t at = text.find("127.0.0.1:");
    return std::make_unique<Background>(
        with_secret("node --join " + text.substr(at, text.find('\n', at) - at)), folder_ / name);
  }
};

TEST_F(ElasticTest, NodesJoinAndLeaveARunThatIsUnderWayAndNoBitChanges) {
  ASSERT_EQ(troupe(long_train("--out straight --set train.steps=400")), 0) << output_;
  const std::string wanted = last_hash(output_);
  Background run(with_secret(long_train("--nodes 2 --listen 127.0.0.1:0 --set train.steps=400")),
                 folder_ / "beside");
  const auto first = node(run, "first");
  ASSERT_TRUE(run.says("step 10 ")) << run.text();
  const auto second = node(run, "second");
  ASSERT_TRUE(run.says("plan changed: 3 processes")) << run.text();
  const auto third = node(run, "third");
  ASSERT_TRUE(run.says("plan changed: 4 processes")) << run.text();

  ASSERT_EQ(troupe("drain run 1"), 0) << output_ << run.text();
  EXPECT_THAT(output_, HasSubstr("plan changed: 3 processes from step "));
  EXPECT_EQ(first->wait(), 0) << "who leaves has ended well: " << first->text();
  EXPECT_FALSE(second->has_ended()) << second->text();
  EXPECT_EQ(troupe("drain run 7"), 1);
  EXPECT_THAT(output_, HasSubstr("node 7 cannot leave: this run has no such node"));

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted) << run.text();
  EXPECT_EQ(second->wait(), 0) << second->text();
  EXPECT_EQ(third->wait(), 0) << third->text();
  ASSERT_EQ(troupe("checkpoint verify run"), 0) << output_;
}

TEST_F(ElasticTest, AfterAChangeALeaderAndANodeAreReplacedAsBefore) {
  ASSERT_EQ(troupe(long_train("--out straight --set train.steps=120")), 0) << output_;
  const std::string wanted = last_hash(output_);
  Background run(command(long_train("--nodes 4 --set train.steps=120 --crash trainer@60:forward "
                                    "--crash crew/1@90:prepare")),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 10 ")) << run.text();
  ASSERT_EQ(troupe("drain run 3"), 0) << output_ << run.text();

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(last_hash(run.text()), wanted) << run.text();
  ASSERT_EQ(troupe("events run --kind failpoint"), 0);
  EXPECT_THAT(output_, HasSubstr("crash trainer/0@60:forward"));
  EXPECT_THAT(output_, HasSubstr("crash crew/1@90:prepare"));
}

TEST_F(ElasticTest, WhatCannotLeaveIsSaid) {
  EXPECT_EQ(troupe("drain nowhere 1"), 1);
  ASSERT_EQ(troupe(train("")), 0) << output_;
  EXPECT_EQ(troupe("drain run ../x"), 1);
  EXPECT_THAT(output_, HasSubstr("found the node '../x', wanted a process's number or a host's name"));
  EXPECT_EQ(troupe("drain run 1 --wait 0"), 1);
  EXPECT_THAT(output_, HasSubstr("it waits there for who leads the run"));
}

}  // namespace
}  // namespace troupe::tests
