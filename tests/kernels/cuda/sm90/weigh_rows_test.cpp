#include "kernels/cuda/sm90/weigh_rows.h"

#include <gmock/gmock.h>

#include "kernels/ops/permute.h"
#include "kernels/ops/swiglu.h"
#include "tests/kernels/cuda/rows_in_bf16.h"

namespace troupe::tests {
namespace {

using namespace kernels;

/// Rows in bf16: what experts compute with.
using WeighRows = Sm90Test;

TEST_F(WeighRows, GivesWeightedRowsAndTheirWeightsGradients) {
  for (const int64_t D : {1, 13, 256, 520}) {
    const int64_t R = 37;
    const Buffer dy = rounded(normal({R, D}, 1)), y = rounded(normal({R, D}, 2));
    const Buffer weights = normal({R}, 3);
    const Tensor weighted = scratch.of(DType::bf16, {R, D}), dweights = scratch.f32({R});

    cuda::weigh_rows(*queue, {.dy = on_gpu(dy, DType::bf16),
                              .index = {},
                              .y = on_gpu(y, DType::bf16),
                              .weights = on_gpu(weights, DType::f32),
                              .dy_weighted = weighted,
                              .dweights = dweights});

    const std::vector<float> rows = numbers(weighted), sums = numbers(dweights);
    for (int64_t r = 0; r < R; ++r) {
      double dot = 0, size = 0;
      for (int64_t i = 0; i < D; ++i) {
        const float d = values<float>(dy.view)[r * D + i];
        const double term = double{d} * values<float>(y.view)[r * D + i];
        dot += term;
        size += std::fabs(term);
        const float wanted = bf16_to_f32(f32_to_bf16(values<float>(weights.view)[r] * d));
        ASSERT_EQ(rows[static_cast<size_t>(r * D + i)], wanted) << r << ", " << i;
      }
      ASSERT_NEAR(sums[static_cast<size_t>(r)], dot, 1e-5 * size) << r;
    }
  }
}

TEST_F(WeighRows, GathersAsItWeighsAndStoresOnlyWhatIsWanted) {
  for (const int64_t D : {13, 256}) {
    const int64_t R = 37, T = 20;
    const Tensor table = on_gpu(normal({T, D}, 1), DType::bf16), y = on_gpu(normal({R, D}, 2), DType::bf16);
    const Tensor index = on_gpu(integers(random_integers(R, T, 4), {R}), DType::i32);
    const Tensor weights = on_gpu(normal({R}, 3), DType::f32);
    const Tensor rows = scratch.of(DType::bf16, {R, D});
    gather_rows(*queue, {.x = table, .index = index, .y = rows});
    const auto weigh = [&](const ConstTensor& dy, const ConstTensor& at, bool stores) {
      const Tensor weighted = stores ? scratch.of(DType::bf16, {R, D}) : Tensor{};
      const Tensor dweights = scratch.f32({R});
      cuda::weigh_rows(*queue, {.dy = dy, .index = at, .y = y, .weights = weights,
                                .dy_weighted = weighted, .dweights = dweights});
      return std::pair(stores ? numbers(weighted) : std::vector<float>{}, numbers(dweights));
    };
    const auto wanted = weigh(rows, {}, true);

    EXPECT_EQ(weigh(table, index, true), wanted);
    EXPECT_EQ(weigh(table, index, false).second, wanted.second);
  }
}

// Elements depend on elements: bf16 is f32's result, rounded once.
TEST_F(WeighRows, SwigluOfBf16IsThatOfF32Rounded) {
  for (const int64_t F : {7, 64}) {
    const Buffer gate = rounded(normal({50, F}, 1)), up = rounded(normal({50, F}, 2));
    const Buffer dy = rounded(normal({50, F}, 3));
    std::vector<std::vector<float>> found;
    for (const DType type : {DType::f32, DType::bf16}) {
      const Tensor g = on_gpu(gate, type), u = on_gpu(up, type), d = on_gpu(dy, type);
      const Tensor y = scratch.of(type, {50, F}), dgate = scratch.of(type, {50, F});
      const Tensor dup = scratch.of(type, {50, F});
      swiglu(*queue, {.gate = g, .up = u, .y = y});
      swiglu_backward(*queue, {.dy = d, .gate = g, .up = u, .dgate = dgate, .dup = dup});
      for (const Tensor& t : {y, dgate, dup}) found.push_back(numbers(t));
    }

    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(found[i + 3], rounded(found[i])) << F;
  }
}

TEST_F(WeighRows, RowsAreGatheredAndCombinedInEitherType) {
  for (const int64_t D : {9, 128}) {
    const int64_t T = 40, K = 4, R = 60;
    const Buffer x = normal({R, D}, 1), weight = normal({T, K}, 2);
    const Buffer index = integers(random_integers(R, R, 3), {R});
    const Buffer row = integers(random_integers(T * K, R, 4), {T, K});
    const Buffer source = integers(std::vector<int32_t>(T * K, 0), {T, K});
    std::vector<int32_t> groups;
    for (int64_t i = 0; i < T * K; ++i) groups.push_back(static_cast<int32_t>(i % K / 2));
    const Buffer group = integers(groups, {T, K});
    const auto combine = [&](const ConstTensor& rows) {
      const Tensor y = scratch.f32({T, D});
      combine_rows(*queue, {.rows = {rows},
                            .source = on_gpu(source, DType::i32),
                            .row = on_gpu(row, DType::i32),
                            .group = on_gpu(group, DType::i32),
                            .weight = on_gpu(weight, DType::f32),
                            .y = y,
                            .rounds_groups = true});
      return numbers(y);
    };
    const Tensor narrow = scratch.of(DType::bf16, {R, D}), wide = scratch.f32({R, D});

    gather_rows(*queue,
                {.x = on_gpu(x, DType::f32), .index = on_gpu(index, DType::i32), .y = narrow});
    gather_rows(
        *queue,
        {.x = on_gpu(rounded(x), DType::bf16), .index = on_gpu(index, DType::i32), .y = wide});

    EXPECT_EQ(numbers(narrow), numbers(wide));
    EXPECT_EQ(combine(narrow), combine(wide));
  }
}

TEST_F(WeighRows, NamesATensorOfAnotherType) {
  const Tensor f32 = scratch.f32({2, 8}), bf16 = scratch.of(DType::bf16, {2, 8});
  try {
    cuda::weigh_rows(*queue, {.dy = f32,
                              .index = {},
                              .y = bf16,
                              .weights = scratch.f32({2}),
                              .dy_weighted = bf16,
                              .dweights = scratch.f32({2})});
    FAIL() << "no error";
  } catch (const KernelError& error) {
    EXPECT_THAT(error.what(),
                testing::HasSubstr("weigh_rows dy is [2, 8] f32, wanted [2, 8] bf16"));
  }
}

}  // namespace
}  // namespace troupe::tests
