// Laws 1 to 4 in a campaign: failures of every kind of an actor and of a process, each in a phase of its own.
#include <gmock/gmock.h>

#include <fstream>

#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

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
