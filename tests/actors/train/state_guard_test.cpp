// Commit law: what is applied is a function of the state that was made, not of what memory became.
#include "actors/train/state_guard.h"

#include <gtest/gtest.h>

#include "runtime/state/hash.h"

namespace troupe::tests {
namespace {

using actors::StateGuard;

class StateGuardTest : public testing::Test {
 protected:
  std::vector<int64_t> damaged(StateGuard& guard, uint64_t state) {
    const auto differs = guard.check(queue_, arena_, state);
    queue_.wait();
    return guard.damaged(*differs);
  }
  void flip(kernels::Tensor t) { static_cast<uint8_t*>(t.data)[1] ^= 4; }

  runtime::StateArena arena_{{{"a", {100}, {}}, {"b", {70'000}, {}}, {"c", {3}, {}}}};  // 4 blocks
  kernels::ThreadPool pool_{2};
  kernels::Queue queue_{pool_};
};

TEST_F(StateGuardTest, WhatHasNotChangedIsNotDamagedAndTheNotesAreTheRunsHashes) {
  StateGuard guard({0, 2}, {3});
  const auto hashes = guard.note(queue_, arena_, 4);
  queue_.wait();

  EXPECT_EQ(hashes->at(0), runtime::block_hash(arena_, 0, 4));
  EXPECT_EQ(hashes->at(1), runtime::block_hash(arena_, 2, 4));
  EXPECT_TRUE(damaged(guard, 4).empty());
}

TEST_F(StateGuardTest, AnyBitOfABlockAndOfAWeightIsSeen) {
  StateGuard guard({0, 2}, {3});
  guard.note(queue_, arena_, 4);
  queue_.wait();
  flip(arena_.block(2, 4).moment2);
  flip(arena_.block(3, 4).weight);

  EXPECT_EQ(damaged(guard, 4), (std::vector<int64_t>{2, 3}));
}

TEST_F(StateGuardTest, WhatIsNotHeldOrNotOfThisStateIsNotLookedAt) {
  StateGuard guard({0, 2}, {3});
  guard.note(queue_, arena_, 4);
  queue_.wait();
  flip(arena_.block(1, 4).weight);   // not held
  flip(arena_.block(0, 5).weight);   // the other version
  flip(arena_.block(3, 4).moment1);  // of a block whose weight alone is held

  EXPECT_TRUE(damaged(guard, 4).empty());
  EXPECT_TRUE(damaged(guard, 5).empty());  // has no note
  EXPECT_TRUE(damaged(guard, 0).empty());
}

// As when another leads and asks for the last commit again.
TEST_F(StateGuardTest, WhatMemoryHasChangedIsNotNotedInTheStatesPlace) {
  StateGuard guard({0, 2}, {3});
  const auto hashes = guard.note(queue_, arena_, 4);
  queue_.wait();
  flip(arena_.block(0, 4).weight);

  EXPECT_EQ(*guard.note(queue_, arena_, 4), *hashes);
  EXPECT_EQ(damaged(guard, 4), std::vector<int64_t>{0});
}

TEST_F(StateGuardTest, AStateThatIsRestoredIsWhole) {
  StateGuard guard({0}, {});
  guard.note(queue_, arena_, 4);
  queue_.wait();
  flip(arena_.block(0, 4).weight);
  ASSERT_EQ(damaged(guard, 4).size(), 1u);
  flip(arena_.block(0, 4).weight);

  EXPECT_TRUE(damaged(guard, 4).empty());
}

}  // namespace
}  // namespace troupe::tests
