// The same bits when memory changes what nobody has written: found before the step is committed, and
// taken again from buddies.
#include <gmock/gmock.h>

#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class DamageTest : public SpreadProgramTest {};

TEST_F(DamageTest, DamagedBlocksComeAgainFromTheirBuddiesAndNoBitChanges) {
  ASSERT_EQ(troupe(train("--out run --nodes 3 --flip optimizer_shard@4:begin "
                         "--flip optimizer_shard/1@7:begin --flip optimizer_shard/2@9:begin")), 0)
      << output_;

  EXPECT_EQ(last_hash(output_), wanted_);
  for (const char* process : {"0", "1", "2"}) {
    EXPECT_THAT(output_, HasSubstr("damaged: in process " + std::string(process) +
                                   " memory has changed 1 of the blocks of state "));
  }
  EXPECT_THAT(output_, HasSubstr("step 4 goes on in epoch 1."));
}

TEST_F(DamageTest, ARunWithoutCopiesEndsAndGoesOnFromItsCheckpoint) {
  EXPECT_EQ(troupe(train("--out run --set checkpoint.every=3 --flip optimizer_shard@8:begin")), 1);
  EXPECT_THAT(output_, AllOf(HasSubstr("in process 0 memory has changed 1 of the blocks of state 7"),
                             HasSubstr("no copies of them are left")));

  ASSERT_EQ(troupe("train --resume run"), 0) << output_;

  EXPECT_EQ(last_hash(output_), wanted_);
}

TEST_F(DamageTest, WithoutVerificationTheDamageIsInTheRun) {
  ASSERT_EQ(troupe(train("--out run --set train.verify_state=false --flip optimizer_shard@8:begin")), 0)
      << output_;

  EXPECT_NE(last_hash(output_), wanted_);
}

}  // namespace
}  // namespace troupe::tests
