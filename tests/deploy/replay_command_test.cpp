#include "deploy/replay_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ReplayCommand : public ProgramTest {};

TEST_F(ReplayCommand, StepsOutsideTheJournalAreNamed) {
  ASSERT_EQ(troupe(train("--set train.steps=3")), 0) << output_;

  for (const char* step : {"0", "4", "18446744073709551615"}) {
    EXPECT_EQ(troupe(std::string("replay run --step ") + step), 1);
    EXPECT_THAT(output_, HasSubstr("run has committed 3 steps, wanted one of them"));
  }
  EXPECT_EQ(troupe("replay run --step -1"), 2);
  EXPECT_EQ(troupe("replay run"), 2);
  EXPECT_EQ(troupe("replay nosuch --step 1"), 1);
  EXPECT_THAT(output_, HasSubstr("nosuch holds no run"));
}

// Without a recorded hash the record is what is compared, and the checkpoint's hash where there is one.
TEST_F(ReplayCommand, HashesThatWereNotRecordedAreSaidSo) {
  ASSERT_EQ(troupe(train("--set train.hash_every=0")), 0) << output_;

  ASSERT_EQ(troupe("replay run --step 7"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("step 6  its record: the recorded one\n"),
                             HasSubstr(": none was recorded; its record is the recorded one\n")));

  ASSERT_EQ(troupe("replay run --step 10"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("step 10  hash "), HasSubstr(": the recorded one\n"),
                             Not(HasSubstr("none was recorded"))));
}

TEST_F(ReplayCommand, ADamagedCheckpointIsPassedOver) {
  ASSERT_EQ(troupe(train()), 0) << output_;
  alter_byte(folder_ / "run/checkpoints/step-10/blocks-0", 4321);

  ASSERT_EQ(troupe("replay run --step 12"), 0) << output_;

  EXPECT_THAT(output_, AllOf(HasSubstr("step-10/blocks-0 is damaged"),
                             HasSubstr("going on from state 5; 7 committed steps are done again"),
                             HasSubstr("step 12  hash " + trained_hash(12) + ": the recorded one")));
}

}  // namespace
}  // namespace troupe::tests
