#include "kernels/profile.h"

#include <gtest/gtest.h>

#include "kernels/ops/norm.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;

TEST(Profile, NamesTheOperatorsThatRan) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({4, 8}, 1), weight = normal({8}, 2), y = allocate_f32({4, 8});
  const Buffer inverse = allocate_f32({4});
  take_profile();

  set_profiling(true);
  rms_norm(queue, {.x = x, .weight = weight, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
  queue.wait();
  set_profiling(false);

  const auto profile = take_profile();
  ASSERT_TRUE(profile.contains("rms_norm"));
  EXPECT_EQ(profile.at("rms_norm").parts, 1);
  EXPECT_GT(profile.at("rms_norm").seconds, 0);
}

TEST(Profile, IsEmptyWhenNobodyMeasures) {
  ThreadPool pool(1);
  Queue queue(pool);
  take_profile();

  queue.run(3, [](int64_t) {});
  queue.wait();

  EXPECT_TRUE(take_profile().empty());
}

TEST(Profile, TheInnermostLabelCounts) {
  const OperatorLabel outer("outer");
  {
    const OperatorLabel inner("inner");
    EXPECT_STREQ(OperatorLabel::current(), "inner");
  }
  EXPECT_STREQ(OperatorLabel::current(), "outer");
}

}  // namespace
}  // namespace troupe::tests
