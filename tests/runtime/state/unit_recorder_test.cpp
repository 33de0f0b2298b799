#include "runtime/state/unit_recorder.h"

#include <gtest/gtest.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <thread>

#include "runtime/state/unit_file.h"
#include "tests/runtime/state/units.h"

namespace troupe::tests {
namespace {

using runtime::UnitEpoch;
using runtime::UnitRecorder;

class Recorder : public testing::Test {
 protected:
  UnitRecorder recorder_{{"first.weight", "second.weight"}};
};

TEST_F(Recorder, HashesThePayloadsBytesInOrderAndLeavesOutWhatIsBetweenRows) {
  std::vector<float> values{1, 2, 3, 4, 5, 6};
  const kernels::ConstTensor left = kernels::columns(kernels::tensor(values.data(), {2, 3}), 0, 2);
  const kernels::ConstTensor last = kernels::tensor(values.data() + 5, {1});
  const float wanted[] = {1, 2, 4, 5, 6};

  recorder_.record({1, 1, 1}, weights(0, 0), {left, last});
  recorder_.commit({1, 1, 1});

  EXPECT_EQ(recorder_.oldest()->units(0).hash(), XXH3_64bits(wanted, sizeof wanted));
}

// Law 3: nothing of an epoch that was given up stays, whenever it comes.
TEST_F(Recorder, OnlyTheCommittedEpochStays) {
  recorder_.record({1, 1, 4}, weights(0, 0), 11);
  recorder_.record({1, 1, 4}, weights(0, 1), 12);
  recorder_.record({1, 2, 4}, weights(0, 0), 21);
  recorder_.record({1, 1, 4}, weights(1, 0), 13);  // late
  recorder_.commit({1, 2, 4});
  recorder_.record({1, 1, 4}, weights(1, 0), 14);  // later still
  recorder_.record({1, 2, 4}, weights(1, 0), 22);

  const auto step = recorder_.oldest();
  ASSERT_TRUE(step);
  EXPECT_EQ(step->step(), 4u);
  ASSERT_EQ(step->units_size(), 1);
  EXPECT_EQ(step->units(0).hash(), 21u);
  EXPECT_EQ(recorder_.newest().units_size(), 1) << "and nothing waits for a commit";
}

TEST_F(Recorder, ACommitThatIsToldAgainDoesNothing) {
  recorder_.record({1, 1, 4}, weights(0, 0), 11);
  recorder_.commit({1, 1, 4});
  recorder_.commit({1, 1, 4});
  recorder_.record({1, 2, 5}, weights(0, 0), 12);
  recorder_.commit({1, 1, 4});
  recorder_.commit({1, 2, 5});

  EXPECT_EQ(recorder_.oldest()->step(), 4u);
  recorder_.drop(4);
  EXPECT_EQ(recorder_.oldest()->step(), 5u);
  EXPECT_EQ(recorder_.oldest()->units_size(), 1);
  recorder_.drop(5);
  EXPECT_FALSE(recorder_.oldest());
}

TEST_F(Recorder, AUnitThatComesTwiceCountsOnceAndOrderOfArrivalDoesNotShow) {
  recorder_.record({1, 1, 1}, gradient_sum(1, 0), 1);
  recorder_.record({1, 1, 1}, weights(0, 0), 2);
  recorder_.record({1, 1, 1}, gradient_sum(1, 0), 1);
  recorder_.commit({1, 1, 1});

  const auto step = recorder_.oldest();
  ASSERT_EQ(step->units_size(), 2);
  EXPECT_EQ(step->units(0).kind(), wire::UnitHash::WEIGHTS);
  EXPECT_EQ(runtime::parse_units(runtime::frame_units(*step), "it").tensors_size(), 2);
}

TEST_F(Recorder, TheNewestAttemptCanBeSeenBeforeItsCommit) {
  recorder_.record({1, 1, 1}, weights(0, 0), 1);
  recorder_.record({1, 2, 1}, weights(0, 0), 2);

  EXPECT_EQ(recorder_.newest().units(0).hash(), 2u);
  recorder_.commit({1, 2, 1});
  EXPECT_EQ(recorder_.newest().units(0).hash(), 2u);
}

TEST_F(Recorder, ManyThreadsRecordAtATime) {
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (uint32_t i = 0; i < 500; ++i) {
        recorder_.record({1, 1, 1}, weights(t % 2, 2 * i + t / 2), i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  recorder_.commit({1, 1, 1});

  EXPECT_EQ(recorder_.oldest()->units_size(), 2000);
}

}  // namespace
}  // namespace troupe::tests
