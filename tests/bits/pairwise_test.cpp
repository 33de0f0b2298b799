#include "tests/bits/pairwise.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

TEST(Pairwise, EveryTwoChoicesMeetInFewCombinations) {
  const std::vector<size_t> sizes{5, 3, 3, 4, 2, 2, 2};
  const auto legal = all_choices(sizes, [](const Choice&) { return true; });
  EXPECT_EQ(legal.size(), 5u * 3 * 3 * 4 * 2 * 2 * 2);
  const auto chosen = pairwise(legal);

  std::set<Meeting> met;
  for (const Choice& choice : chosen) met.merge(meetings(choice));
  size_t wanted = 0;
  for (size_t a = 0; a < sizes.size(); ++a) {
    for (size_t b = a + 1; b < sizes.size(); ++b) wanted += sizes[a] * sizes[b];
  }
  EXPECT_EQ(met.size(), wanted);
  EXPECT_LE(chosen.size(), 24u);
}

TEST(Pairwise, WhatIsNotLegalIsNotChosen) {
  const auto no_twins = [](const Choice& c) { return c[0] != c[1]; };
  for (const Choice& choice : pairwise(all_choices({4, 4}, no_twins))) {
    EXPECT_NE(choice[0], choice[1]);
  }
}

}  // namespace
}  // namespace troupe::tests
