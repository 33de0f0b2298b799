#include "actors/train/apply_block.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/kernels/fixtures.h"
#include "tests/kernels/reference/optimizer.h"

namespace troupe::tests {
namespace {

using namespace actors;
using kernels::Initial;
using runtime::StateArena;

/// One block of 5 weights 0.5, and their EMA, with gradients 1, 2, ... at s = 4.
class ApplyBlock : public testing::Test {
 protected:
  ApplyBlock() : arena_({{"w", {5}, Initial::ones}}, {.has_ema = true}), pool_(2), queue_(pool_) {
    const auto state = arena_.block(0, 0);
    std::fill_n(kernels::values<float>(state.weight), 5, 0.5f);
    arena_.begin_ema();
    const auto sum = arena_.mutable_block_gradient(0);
    for (int64_t i = 0; i < 5; ++i) kernels::values<int64_t>(sum)[i] = (i + 1) * 16;
  }

  void apply(uint64_t state, bool update) {
    apply_block(queue_, arena_,
                {.block = 0, .state = state, .apply = update,
                 .adamw = {.learning_rate = 0.1f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f,
                           .clip = 1.0f, .correction1 = kernels::bias_correction(0.9f, 1),
                           .correction2 = kernels::bias_correction(0.95f, 1)},
                 .weight_decay = 0.1f, .ema_rate = 0.25f, .scale_bits = 4});
    queue_.wait();
  }
  std::vector<float> all(uint64_t state) {
    std::vector<float> out;
    const auto block = arena_.block(0, state);
    for (const auto& part : block.parts()) {
      for (const float v : to_vector(part)) out.push_back(v);
    }
    return out;
  }

  StateArena arena_;
  kernels::ThreadPool pool_;
  kernels::Queue queue_;
};

TEST_F(ApplyBlock, MakesTheNextStateByAdamWAndStampsIt) {
  const auto before = all(0);

  apply(1, true);

  const auto after = all(1);
  for (size_t i = 0; i < 5; ++i) {
    const auto expected = reference::adamw({0.5, 0, 0}, static_cast<double>(i + 1),
                                           {0.1, 0.9, 0.95, 1e-8, 0.1}, 1);
    EXPECT_NEAR(after[i], expected.weight, 1e-6);
    EXPECT_NEAR(after[5 + i], expected.moment1, 1e-6);
    EXPECT_NEAR(after[10 + i], expected.moment2, 1e-6);
    EXPECT_NEAR(after[15 + i], 0.75 * 0.5 + 0.25 * expected.weight, 1e-6);
  }
  EXPECT_EQ(arena_.stamp(0, 1), 1u);
  EXPECT_TRUE(same_bits(all(0), before)) << "state 0 stays until state 2 is written";
}

TEST_F(ApplyBlock, ASkippedStepCopiesTheState) {
  apply(1, true);
  const auto state1 = all(1);

  apply(2, false);

  EXPECT_TRUE(same_bits(all(2), state1));
  EXPECT_EQ(arena_.stamp(0, 2), 2u);
}

// Commit law: an interrupted apply is done again, what is stamped is left alone.
TEST_F(ApplyBlock, DoneAgainItChangesNothing) {
  apply(1, true);
  const auto state1 = all(1);
  kernels::values<int64_t>(arena_.mutable_block_gradient(0))[0] = 12345;

  apply(1, true);

  EXPECT_TRUE(same_bits(all(1), state1));
}

// Commit law: state N is made of state N - 1 and of no other.
TEST_F(ApplyBlock, RefusesToLeaveAStateOut) {
  try {
    apply(2, true);
    FAIL() << "no StateError";
  } catch (const runtime::StateError& e) {
    EXPECT_STREQ(e.what(), "block 0 of w stands at state 0, wanted 1 to apply step 2");
  }
}

}  // namespace
}  // namespace troupe::tests
