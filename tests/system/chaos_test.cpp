// Laws 1 to 4 in a campaign: failures of every kind of an actor and of a process, each in a phase of its own.
#include <gmock/gmock.h>

#include <fstream>

#include "tests/system/background.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class ChaosTest : public SpreadProgramTest {
 protected:
  /// `troupe chaos` with the settings of the tests' runs.
  static std::string chaos(const std::string& more) {
    std::string arguments = long_train("--out campaign " + more);
    return "chaos" + arguments.substr(arguments.find(' '));
  }
};

TEST_F(ChaosTest, FortyFailuresOfEveryKindAndRoleEndInTheHashOfTheQuietRun) {
  ASSERT_EQ(troupe(chaos("--nodes 4 --faults 44 --every 3 --kinds crash,segfault,exit,kill,fail,delay "
                         "--set parallel.pipeline=2 --set parallel.data=2 --set parallel.expert=2")), 0)
      << output_ << read_file(folder_ / "campaign" / "faults.log");

  EXPECT_THAT(output_, HasSubstr("failures 44  witnessed all yes  exit code 0"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  EXPECT_THAT(read_file(folder_ / "campaign" / "recovery.svg"), HasSubstr("</svg>"));
  EXPECT_THAT(read_file(folder_ / "campaign" / "report.json"), HasSubstr("\"exit_code\": 0"));
}

// Supervision law: what cannot be interrupted goes with its process, which says what hung.
TEST_F(ChaosTest, HandlersThatHangEndTheirProcessesAndNoBitChanges) {
  std::ofstream(folder_ / "plan.txt") << "hang stage/1@4:forward\nhang coordinator/0@8:begin\n";

  ASSERT_EQ(troupe(chaos("--nodes 2 --plan plan.txt --set parallel.pipeline=2")), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("failures 2  witnessed all yes  exit code 0"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  const std::string log = read_file(folder_ / "campaign" / "faults.log");
  // Its input may be there before the start is: then the start is what runs forward.
  EXPECT_THAT(log, ContainsRegex("hung: process 1: stage/1.0.0 has been at (forward|start) of step 4"));
  EXPECT_THAT(log, HasSubstr("troupe: process 0: coordinator/0.0.0 has been at "));
}

// It has seen no step itself, and is told what one takes by those who have.
TEST_F(ChaosTest, AHandlerThatHangsInTheFirstStepOfANewLeaderEndsItToo) {
  std::ofstream(folder_ / "plan.txt") << "crash coordinator/0@6:begin\nhang stage/0@6:forward\n";

  ASSERT_EQ(troupe(chaos("--nodes 2 --plan plan.txt --set parallel.pipeline=2")), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("failures 2  witnessed all yes  exit code 0"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  EXPECT_THAT(read_file(folder_ / "campaign" / "faults.log"),
              ContainsRegex("0: stage/0.0.0 has been at (forward|start) of step 6 for .* \\(limit [0-9]?[0-9]\\."));
}

// Nobody would lead on: it is told, and what the run had done is there.
TEST_F(ChaosTest, AHandlerThatHangsIsToldInARunOfOneProcess) {
  {
    Background run(command(train("--hang stage/0@8:forward --set checkpoint.every=3")), folder_ / "beside");
    ASSERT_TRUE(run.says("a run of one process is not ended for it")) << run.text();
    EXPECT_THAT(run.text(), ContainsRegex("troupe: process 0: stage/0.0.0 has been at (forward|start) of step 8"));
    run.kill(SIGKILL);
  }
  ASSERT_EQ(troupe("train --resume run"), 0) << output_;
  EXPECT_EQ(last_hash(output_), wanted_);
}

// The kernel chooses the process of a group that has no memory left, as on a machine that has none.
TEST_F(ChaosTest, ProcessesThatRunOutOfMemoryAreEndedByTheKernelAndNoBitChanges) {
  std::ofstream(folder_ / "plan.txt") << "oom stage/1@4:forward\noom coordinator/0@8:begin\n";

  const int code = troupe(chaos("--nodes 2 --plan plan.txt --set parallel.pipeline=2"));
  if (output_.find("failpoint oom stage/1@4:forward cannot be: ") != std::string::npos) {
    GTEST_SKIP() << output_;
  }
  ASSERT_EQ(code, 0) << output_ << read_file(folder_ / "campaign" / "faults.log");

  EXPECT_THAT(output_, HasSubstr("failures 2  witnessed all yes  exit code 0"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  ASSERT_EQ(troupe("events campaign/faults --kind process_lost --kind process_fenced"), 0);
  EXPECT_THAT(output_, HasSubstr(", by the kernel for lack of memory"));
}

// Commit law: what cannot be made durable waits.
TEST_F(ChaosTest, AFullDiskIsWaitedForAndNoBitChanges) {
  std::ofstream(folder_ / "plan.txt")
      << "disk journal/0@4:commit+400\ndisk checkpointer/0@10:checkpoint+400\ncrash stage/0@16:backward\n";

  const int code = troupe(chaos("--nodes 2 --plan plan.txt --set parallel.pipeline=2"));
  if (output_.find("disk cannot be: ") != std::string::npos) GTEST_SKIP() << output_;
  ASSERT_EQ(code, 0) << output_ << read_file(folder_ / "campaign" / "faults.log");

  EXPECT_THAT(output_, HasSubstr("failures 3  witnessed all yes  exit code 0"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  EXPECT_THAT(read_file(folder_ / "campaign" / "faults.log"),
              AllOf(HasSubstr("alarm: the journal waits: "), HasSubstr("No space left on device")));
  ASSERT_EQ(troupe("checkpoint verify campaign/faults"), 0) << "it is kept: " << output_;
}

// Nobody is told of a cut: who was on the other side is given up for its silence, and its place is taken.
TEST_F(ChaosTest, CablesThatAreCutAndHostsThatAreNotHeardChangeNoBit) {
  std::ofstream(folder_ / "plan.txt")
      << "link crew/1@5:forward+2500\noneway crew/2@40:prepare+2500\nlink crew/2@80:begin+100\n";

  const int code = troupe(chaos("--nodes 3 --plan plan.txt --set parallel.data=2"));
  if (output_.find("link cannot be: ") != std::string::npos) GTEST_SKIP() << output_;
  ASSERT_EQ(code, 0) << output_ << read_file(folder_ / "campaign" / "faults.log");

  EXPECT_THAT(output_, HasSubstr("failures 3  witnessed all yes  exit code 0"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  ASSERT_EQ(troupe("events campaign/faults --kind process_suspected --kind process_joined"), 0);
  EXPECT_THAT(output_, HasSubstr(" is silent "));
}

TEST_F(ChaosTest, ARunOfOneProcessCannotLoseIt) {
  EXPECT_EQ(troupe(chaos("--faults 2 --seed 1")), 1);
  EXPECT_THAT(output_, HasSubstr("which ends a process, in a run of one; wanted several (--nodes)"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "campaign"));
}

TEST_F(ChaosTest, AFailureThatDoesNotHappenFailsTheCampaign) {
  std::ofstream(folder_ / "plan.txt") << "crash stage/0@3:forward\nkill stage/0@2:forward#99\n";

  EXPECT_EQ(troupe(chaos("--nodes 2 --plan plan.txt")), 1);

  EXPECT_THAT(output_, HasSubstr("not reached: kill stage/0@2:forward#99"));
  EXPECT_THAT(output_, HasSubstr("equal yes"));
  EXPECT_THAT(output_, HasSubstr("troupe: the campaign failed"));
  EXPECT_EQ(troupe(chaos("--nodes 2 --plan plan.txt")), 1);
  EXPECT_THAT(output_, HasSubstr("campaign is there already, wanted a new folder"));
}

}  // namespace
}  // namespace troupe::tests
