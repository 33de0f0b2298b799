#include "config/plan/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::ElementsAre;

Operation forward(int micro_batch) { return {Operation::Kind::forward, micro_batch}; }
Operation backward(int micro_batch) { return {Operation::Kind::backward, micro_batch}; }

std::vector<int> first_micro_batches(int n) {
  std::vector<int> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

TEST(OneFOneB, TheFirstOfThreeStagesRunsTwoAhead) {
  const std::vector<int> mine{0, 2, 4, 6};

  EXPECT_THAT(one_f_one_b({.stages = 3, .stage = 0, .micro_batches = mine}),
              ElementsAre(forward(0), forward(2), forward(4), backward(0), forward(6), backward(2),
                          backward(4), backward(6)));
}

TEST(OneFOneB, TheLastStageAlternates) {
  const std::vector<int> mine{1, 3};

  EXPECT_THAT(one_f_one_b({.stages = 3, .stage = 2, .micro_batches = mine}),
              ElementsAre(forward(1), backward(1), forward(3), backward(3)));
}

TEST(OneFOneB, KeepsAtMostAsManyMicroBatchesAsStagesFollow) {
  for (int stages = 1; stages <= 6; ++stages) {
    for (int stage = 0; stage < stages; ++stage) {
      for (int n = 0; n <= 9; ++n) {
        const auto mine = first_micro_batches(n);
        const auto list = one_f_one_b({.stages = stages, .stage = stage, .micro_batches = mine});

        EXPECT_EQ(list.size(), static_cast<size_t>(2 * n));
        EXPECT_EQ(largest_live(list), std::min(n, stages - stage));
      }
    }
  }
}

// Plays all stages at once: an operation runs when its neighbour's has run.
TEST(OneFOneB, NeverWaitsForever) {
  for (int stages = 1; stages <= 6; ++stages) {
    for (int n = 1; n <= 9; ++n) {
      const auto mine = first_micro_batches(n);
      std::vector<std::vector<Operation>> lists;
      for (int stage = 0; stage < stages; ++stage) {
        lists.push_back(one_f_one_b({.stages = stages, .stage = stage, .micro_batches = mine}));
      }
      std::vector<size_t> next(lists.size(), 0);
      std::vector<int> forwards(lists.size(), 0);
      std::vector<int> backwards(lists.size(), 0);
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t s = 0; s < lists.size(); ++s) {
          if (next[s] == lists[s].size()) continue;
          const bool is_forward = lists[s][next[s]].kind == Operation::Kind::forward;
          const bool ready = is_forward ? s == 0 || forwards[s - 1] > forwards[s]
                                        : s + 1 == lists.size() || backwards[s + 1] > backwards[s];
          if (!ready) continue;
          ++(is_forward ? forwards : backwards)[s];
          ++next[s];
          moved = true;
        }
      }
      EXPECT_THAT(backwards, testing::Each(n)) << stages << " stages, " << n << " micro-batches";
    }
  }
}

TEST(OneFOneB, RefusesAStageThatIsNotThere) {
  EXPECT_EQ(error_of([] { one_f_one_b({.stages = 2, .stage = 2, .micro_batches = {}}); }),
            "stage: found 2, wanted 0 to 1");
}

}  // namespace
}  // namespace troupe::config
