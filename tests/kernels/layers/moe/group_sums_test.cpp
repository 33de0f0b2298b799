#include "kernels/layers/moe/group_sums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<int32_t> ints(const Buffer& b) {
  const int32_t* first = values<int32_t>(b.view);
  return {first, first + b.view.count()};
}

// Experts 2 to 5 of groups of two: both groups are whole. Rows of expert 2: tokens 0, 3; 3: token 3;
// 4: none; 5: tokens 0, 1.
TEST(GroupSums, ATokenHasOneSumOfEachGroupThatIsWhole) {
  const Buffer tokens = integers({0, 3, 3, 0, 1}, {5});
  const GroupSums plan = plan_group_sums(
      {.first_expert = 2, .offsets = {0, 2, 3, 3, 5}, .token = tokens, .group_experts = 2});

  EXPECT_EQ(plan.sums(), 4);
  EXPECT_THAT(ints(plan.source), ElementsAre(0, -1, 0, 0, 0, -1, 0, -1));
  EXPECT_THAT(ints(plan.row), ElementsAre(0, 0, 1, 2, 3, 0, 4, 0));
  EXPECT_THAT(ints(plan.flat_row), ElementsAre(0, 0, 1, 2, 3, 0, 4, 0));
  EXPECT_THAT(ints(plan.lone), IsEmpty());
}

TEST(GroupSums, RowsOfGroupsThatOthersShareStayAsTheyAre) {
  const Buffer tokens = integers({4, 4, 5, 4}, {4});
  const GroupSums plan = plan_group_sums(
      {.first_expert = 1, .offsets = {0, 1, 3, 4}, .token = tokens, .group_experts = 2});

  EXPECT_THAT(ints(plan.lone), ElementsAre(0)) << "expert 0 of the first group is elsewhere";
  EXPECT_EQ(plan.sums(), 2);
  EXPECT_THAT(ints(plan.row), ElementsAre(1, 3, 2, 0));
}

TEST(GroupSums, ATokenThatCannotBeIsRefused) {
  for (const int32_t token : {-1, (1 << 28) + 1}) {
    const Buffer tokens = integers({0, token}, {2});
    EXPECT_THAT([&] {
      plan_group_sums({.first_expert = 0, .offsets = {0, 2}, .token = tokens, .group_experts = 1});
    }, testing::ThrowsMessage<KernelError>(testing::HasSubstr("of token " + std::to_string(token))));
  }
}

TEST(GroupSums, NoRowsHaveNoSums) {
  const Buffer none = allocate(DType::i32, {0});
  const GroupSums plan =
      plan_group_sums({.first_expert = 0, .offsets = {0, 0, 0}, .token = none, .group_experts = 1});
  EXPECT_EQ(plan.sums(), 0);
  EXPECT_EQ(plan.lone.view.count(), 0);
}

}  // namespace
}  // namespace troupe::tests
