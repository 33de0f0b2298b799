#include "config/schedule/bidirectional.h"

#include <gtest/gtest.h>

#include "tests/config/schedule/lists.h"

namespace troupe::config {
namespace {

TEST(BidirectionalList, OfTheOuterRankRunsItsOwnStreamAhead) {
  const auto list = bidirectional_list({.to_middle = 1,
                                        .to_end = 0,
                                        .own = {.stage = 0, .micro_batches = {0, 1, 2, 3, 4}},
                                        .facing = {.stage = 3, .micro_batches = {5, 6, 7, 8, 9}}});

  EXPECT_EQ(notation(list), "F0 F1 F2 F5 I5 W5 F6 F3&B6 F7&B0 F4&B7 F8&B1 B8 F9&B2 B9 I3 W3 I4 W4");
}

TEST(BidirectionalList, WhereTheStreamsMeetTheFirstPairIsTakenApart) {
  const auto list = bidirectional_list({.to_middle = 0,
                                        .to_end = 1,
                                        .own = {.stage = 1, .micro_batches = {0, 1, 2, 3, 4}},
                                        .facing = {.stage = 2, .micro_batches = {5, 6, 7, 8, 9}}});

  EXPECT_EQ(notation(list, true),
            "F0@1 F5@2 F1@1 F6@2 F2@1 B5@2 F7@2&B0@1 F3@1&B6@2 F8@2&B1@1 F4@1&B7@2 F9@2&B2@1 "
            "B8@2 B3@1 I9@2 I4@1 W9@2 W4@1");
}

// Half of what is drained leaves its weight gradients: they fill what would be bubbles.
TEST(BidirectionalList, LeavesAsManyWeightGradientsAsItCanFillIn) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      const auto numbers = first_micro_batches(2 * ranks + 1);
      const auto list =
          bidirectional_list({.to_middle = ranks - 1 - rank,
                              .to_end = rank,
                              .own = {.stage = rank, .micro_batches = numbers},
                              .facing = {.stage = 2 * ranks - 1 - rank, .micro_batches = numbers}});
      int inputs = 0, weights = 0;
      for (const Operation& operation : list) {
        inputs += operation.kind == Operation::Kind::backward_input ? 1 : 0;
        weights += operation.kind == Operation::Kind::backward_weight ? 1 : 0;
      }

      EXPECT_EQ(inputs, 2 * (ranks - 1 - rank) + rank + 1);
      EXPECT_EQ(weights, inputs);
    }
  }
}

}  // namespace
}  // namespace troupe::config
