#include "kernels/ops/sort_rows.h"

#include <gmock/gmock.h>

#include <vector>

#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::ElementsAre;
using testing::IsEmpty;

class SortRows : public testing::Test {
 protected:
  void sort(const std::vector<int32_t>& ids, int64_t per_token, const std::vector<int32_t>& owner, int64_t groups) {
    const int64_t T = static_cast<int64_t>(ids.size()) / per_token;
    const Buffer choice = integers(ids, {T, per_token});
    for (Buffer* table : {&source, &row, &group}) *table = allocate(DType::i32, {T, per_token});
    for (Buffer* table : {&index, &slot}) *table = allocate(DType::i32, {T * per_token});
    counts = allocate(DType::i32, {static_cast<int64_t>(owner.size())});
    sort_rows(queue_, {.expert_ids = choice, .owner = owner, .groups = groups, .source = source, .row = row,
                       .group = group, .index = index, .slot = slot, .counts = counts});
    queue_.wait();
  }
  static std::vector<int32_t> numbers(const Buffer& table) {
    return {values<int32_t>(table.view), values<int32_t>(table.view) + table.view.count()};
  }

  Buffer source, row, group, index, slot, counts;

 private:
  ThreadPool pool_{2};
  Queue queue_{pool_};
};

TEST_F(SortRows, StandBySourceThenExpertThenToken) {
  // Experts 1 and 3 are of source 0, 0 and 2 of source 1; two experts a group.
  sort({0, 3, 1, 3, 0, 1}, 2, {1, 0, 1, 0}, 2);

  EXPECT_THAT(numbers(counts), ElementsAre(2, 2, 0, 2));
  EXPECT_THAT(numbers(index), ElementsAre(1, 2, 0, 1, 0, 2)) << "expert 1, expert 3, expert 0";
  EXPECT_THAT(numbers(slot), ElementsAre(2, 5, 1, 3, 0, 4));
  EXPECT_THAT(numbers(source), ElementsAre(1, 0, 0, 0, 1, 0));
  EXPECT_THAT(numbers(row), ElementsAre(0, 2, 0, 3, 1, 1)) << "of its source";
  EXPECT_THAT(numbers(group), ElementsAre(0, 1, 0, 1, 0, 0));
}

TEST_F(SortRows, AllMayGoToOneExpertAndNoneIsNothing) {
  sort({2, 2, 2}, 1, {0, 1, 1}, 1);
  EXPECT_THAT(numbers(counts), ElementsAre(0, 0, 3));
  EXPECT_THAT(numbers(row), ElementsAre(0, 1, 2));

  sort({}, 2, {0, 0}, 1);
  EXPECT_THAT(numbers(counts), ElementsAre(0, 0));
  EXPECT_THAT(numbers(index), IsEmpty());
}

TEST_F(SortRows, RefusesWhatIsNotThereByName) {
  EXPECT_EQ(kernel_error([&] { sort({0, 2}, 1, {0, 0}, 1); }), "sort_rows expert id 2 at row 1, wanted 0 to 1");
  EXPECT_EQ(kernel_error([&] { sort({0, -1}, 1, {0, 0}, 1); }), "sort_rows expert id -1 at row 1, wanted 0 to 1");
  EXPECT_EQ(kernel_error([&] { sort({0, 1}, 1, {0, 0, 0}, 2); }),
            "sort_rows has 3 experts in 2 groups, wanted groups of one size");
  EXPECT_EQ(kernel_error([&] { sort({0}, 1, std::vector<int32_t>(4097, 0), 1); }),
            "sort_rows has 4097 experts, wanted at most 4096");
}

}  // namespace
}  // namespace troupe::tests
