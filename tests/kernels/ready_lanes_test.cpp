#include "kernels/ready_lanes.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

struct Lane {
  bool is_taken = false;
  bool has_thread() const { return is_taken; }
};

using Ready = kernels::ReadyLanes<Lane>;

class ReadyLanesTest : public testing::Test {
 protected:
  /// Takes a part.
  Lane& choose(Ready::Thread& thread) {
    Lane& chosen = ready_.choose(thread);
    chosen.is_taken = true;
    return chosen;
  }

  Lane a_, b_, c_;
  Ready ready_;
  Ready::Thread one_, two_;
};

TEST_F(ReadyLanesTest, AThreadThatComesGetsTheFirst) {
  EXPECT_TRUE(ready_.empty());
  ready_.add(b_, Ready::usual);
  ready_.add(a_, Ready::usual);

  EXPECT_EQ(&choose(one_), &b_);
  EXPECT_EQ(ready_.size(), 2u) << "it has more parts";
}

TEST_F(ReadyLanesTest, AThreadStaysInItsLaneWhereWhatItHasWrittenIsNear) {
  ready_.add(a_, Ready::usual);
  choose(one_);
  ready_.remove(a_);
  ready_.add(b_, Ready::usual);
  ready_.add(a_, Ready::usual);  // its next operation
  a_.is_taken = false;

  EXPECT_EQ(&choose(one_), &a_);
  EXPECT_EQ(&choose(two_), &b_);
}

TEST_F(ReadyLanesTest, AnotherThreadGoesWhereNoneIsAndHelpsWhereThereIsNothingElse) {
  ready_.add(a_, Ready::usual);
  choose(one_);
  ready_.add(b_, Ready::usual);

  EXPECT_EQ(&choose(two_), &b_);
  ready_.remove(b_);
  EXPECT_EQ(&choose(two_), &a_);
}

TEST_F(ReadyLanesTest, WhatOthersWaitForGoesBeforeAThreadsOwnLane) {
  ready_.add(a_, Ready::usual);
  choose(one_);
  ready_.add(b_, Ready::lanes_that_go_first);
  EXPECT_EQ(&choose(one_), &b_);
  ready_.add(c_, Ready::callbacks_that_tell_others);
  EXPECT_EQ(&choose(one_), &c_);
  ready_.remove(c_);
  ready_.remove(b_);
  ready_.add(c_, Ready::usual);
  EXPECT_EQ(&choose(one_), &a_) << "back to its own";
}

TEST_F(ReadyLanesTest, AnOperationThatWasLeftInTheMiddleIsTakenUpFirst) {
  ready_.add(a_, Ready::usual);
  choose(one_);
  a_.is_taken = false;  // the part has ended, others are there
  ready_.add(b_, Ready::usual);
  ready_.add(c_, Ready::usual);

  EXPECT_EQ(&choose(two_), &a_);
}

TEST_F(ReadyLanesTest, WhatOthersWaitForGoesInTurn) {
  ready_.add(a_, Ready::lanes_that_go_first);
  choose(one_);
  ready_.remove(a_);
  ready_.add(b_, Ready::lanes_that_go_first);
  ready_.add(a_, Ready::lanes_that_go_first);  // its next operation

  EXPECT_EQ(&choose(one_), &b_);
}

TEST_F(ReadyLanesTest, ALaneThatNeverEndsKeepsNoOtherWaitingForEver) {
  ready_.add(a_, Ready::usual);
  choose(one_);
  ready_.add(b_, Ready::usual);

  int turns = 1;
  while (&choose(one_) == &a_) {
    a_.is_taken = false;  // the next operation
    ASSERT_LT(++turns, 10'000);
  }

  EXPECT_EQ(turns, Ready::most_turns);
  EXPECT_EQ(&choose(one_), &b_) << "and stays there as long";
}

}  // namespace
}  // namespace troupe::tests
