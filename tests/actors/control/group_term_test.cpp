#include "actors/control/group_term.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using actors::GroupTerm;

TEST(GroupTermTest, StaysWhileStepFollowsStep) {
  GroupTerm term;
  EXPECT_TRUE(term.is_new(7));
  for (uint64_t step = 7; step < 12; ++step) {
    EXPECT_TRUE(term.applies(step)) << step;
    EXPECT_FALSE(term.is_new(step + 1)) << step;
    EXPECT_EQ(term.since(), 7u);
  }
}

TEST(GroupTermTest, EndsWhenAStepIsBegunAgain) {
  GroupTerm term;
  EXPECT_TRUE(term.is_new(1));
  EXPECT_TRUE(term.is_new(1));
  EXPECT_TRUE(term.applies(1));
  EXPECT_FALSE(term.is_new(2));
  EXPECT_TRUE(term.is_new(2));
  EXPECT_EQ(term.since(), 2u);
}

TEST(GroupTermTest, AppliesTogetherOnceAndByMessagesFromThenOn) {
  GroupTerm term;
  term.is_new(1);
  EXPECT_TRUE(term.applies(1));
  EXPECT_FALSE(term.applies(1));
  EXPECT_FALSE(term.applies(1));
  EXPECT_TRUE(term.is_new(2));
  EXPECT_TRUE(term.applies(2));
}

TEST(GroupTermTest, AppliesByMessagesWhatAnotherLifeHasBegun) {
  GroupTerm term;
  EXPECT_FALSE(term.applies(4));
  EXPECT_TRUE(term.is_new(5));
}

TEST(GroupTermTest, EndsWhenAProcessIsLost) {
  GroupTerm term;
  term.is_new(1);
  term.lost();
  EXPECT_FALSE(term.applies(1));
  EXPECT_TRUE(term.is_new(2));
  EXPECT_TRUE(term.applies(2));
  term.lost();
  EXPECT_TRUE(term.is_new(3));
}

// What comes by messages is never given up for what would be faster.
TEST(GroupTermTest, GivesUpWhenAStepIsBegunAgainAndAgain) {
  GroupTerm term;
  for (int i = 0; i < GroupTerm::most_beginnings; ++i) {
    EXPECT_TRUE(term.is_new(9));
    EXPECT_FALSE(term.has_given_up());
  }
  term.is_new(9);
  EXPECT_TRUE(term.has_given_up());
  EXPECT_FALSE(term.applies(9));
  term.is_new(10);
  EXPECT_TRUE(term.has_given_up());
}

}  // namespace
}  // namespace troupe::tests
