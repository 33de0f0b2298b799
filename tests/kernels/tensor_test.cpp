#include "kernels/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

TEST(Tensor, KnowsItsRowsColumnsAndCount) {
  std::vector<float> memory(24);
  const Tensor t = tensor(memory.data(), {2, 3, 4});

  EXPECT_EQ(t.rows(), 6);
  EXPECT_EQ(t.cols(), 4);
  EXPECT_EQ(t.count(), 24);
  EXPECT_TRUE(t.is_contiguous());
  EXPECT_EQ(describe(t), "[2, 3, 4] f32");
  EXPECT_EQ(tensor(memory.data(), {5}).rows(), 1);
  EXPECT_EQ(tensor(memory.data(), {0, 4}).count(), 0);
}

TEST(Tensor, SlicesShareTheMemory) {
  std::vector<int32_t> memory(12);
  const Tensor t = tensor(memory.data(), {3, 4});

  const Tensor block = columns(row_range(t, 1, 2), 1, 2);
  values<int32_t>(block)[block.row_stride + 1] = 9;

  EXPECT_EQ(block.rows(), 2);
  EXPECT_EQ(block.cols(), 2);
  EXPECT_FALSE(block.is_contiguous());
  EXPECT_TRUE(columns(row_range(t, 1, 1), 1, 2).is_contiguous());
  EXPECT_EQ(memory[2 * 4 + 2], 9);
}

TEST(Tensor, RefusesSlicesThatLeadOutside) {
  std::vector<float> memory(12);
  const Tensor t = tensor(memory.data(), {3, 4});

  EXPECT_THAT(kernel_error([&] { columns(t, 2, 3); }),
              HasSubstr("columns [2, 5) of a tensor with 4 columns"));
  EXPECT_THAT(kernel_error([&] { columns(t, -1, 2); }), HasSubstr("columns [-1, 1)"));
  EXPECT_THAT(kernel_error([&] { row_range(t, 3, 1); }),
              HasSubstr("rows [3, 4) of a tensor with 3 rows"));
  EXPECT_THAT(kernel_error([&] { row_range(t, 0, -1); }), HasSubstr("rows [0, -1)"));
  EXPECT_EQ(row_range(t, 3, 0).count(), 0);
}

TEST(Tensor, ReshapesWhatIsContiguous) {
  std::vector<float> memory(12);
  const Tensor t = tensor(memory.data(), {3, 4});

  EXPECT_EQ(describe(reshape(t, {2, 6})), "[2, 6] f32");
  EXPECT_THAT(kernel_error([&] { reshape(t, {5}); }),
              HasSubstr("cannot reshape [3, 4] f32 to [5] f32"));
  EXPECT_THAT(kernel_error([&] { reshape(columns(t, 0, 2), {6}); }), HasSubstr("cannot reshape"));
}

TEST(Tensor, ExpectShapeNamesWhatWasFoundAndWanted) {
  std::vector<float> memory(12);
  const Tensor t = tensor(memory.data(), {3, 4});
  const auto error = [&](const ConstTensor& found, DType dtype,
                         std::initializer_list<int64_t> shape) {
    return kernel_error([&] { expect_shape("thing", found, dtype, shape); });
  };

  expect_shape("thing", t, DType::f32, {3, 4});
  expect_shape("thing", tensor(memory.data(), {1, 3, 4}), DType::f32, {3, 4});
  expect_shape("thing", tensor(static_cast<float*>(nullptr), {0, 4}), DType::f32, {0, 4});
  EXPECT_EQ(error(t, DType::i32, {3, 4}), "thing is [3, 4] f32, wanted [3, 4] i32");
  EXPECT_EQ(error(t, DType::f32, {4, 3}), "thing is [3, 4] f32, wanted [4, 3] f32");
  EXPECT_EQ(error(t, DType::f32, {12}), "thing is [3, 4] f32, wanted [12] f32");
  EXPECT_EQ(error(tensor(static_cast<float*>(nullptr), {3, 4}), DType::f32, {3, 4}),
            "thing is null [3, 4] f32, wanted [3, 4] f32");
}

}  // namespace
}  // namespace troupe::tests
