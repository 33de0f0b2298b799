#include "kernels/ops/norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;

struct Forward {
  Buffer y, inverse_rms;
};

Forward run(Queue& queue, const ConstTensor& x, const ConstTensor& weight) {
  Forward out{allocate_f32({x.rows(), x.cols()}), allocate_f32({x.rows()})};
  rms_norm(queue, {.x = x, .weight = weight, .eps = 1e-6f, .y = out.y, .inverse_rms = out.inverse_rms});
  queue.wait();
  return out;
}

TEST(Norm, DividesEachRowByItsRootMeanSquare) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t T = 5, D = 37;
  const Buffer x = normal({T, D}, 1), weight = normal({D}, 2);

  const Forward out = run(queue, x, weight);

  const auto xs = to_doubles(x), ws = to_doubles(weight), ys = to_doubles(out.y);
  for (int64_t t = 0; t < T; ++t) {
    double sum = 0;
    for (int64_t i = 0; i < D; ++i) sum += xs[t * D + i] * xs[t * D + i];
    const double inverse = 1 / std::sqrt(sum / D + 1e-6);
    for (int64_t i = 0; i < D; ++i) {
      EXPECT_NEAR(ys[t * D + i], xs[t * D + i] * inverse * ws[i], 2e-6);
    }
  }
}

// Law 1: a row's bits do not depend on the rows beside it, the threads or the instruction set.
TEST(Norm, RowsHaveTheSameBitsAloneAndInAnyCompany) {
  const IsaGuard guard;
  const int64_t T = 64, D = 131;
  const Buffer x = normal({T, D}, 3), weight = normal({D}, 4);
  ThreadPool one(1), four(4);
  Queue single(one), many(four);
  const auto expected = to_vector(run(single, x, weight).y);

  for (const cpu::Isa isa : cpu::available_isas()) {
    cpu::force_isa(isa);
    EXPECT_TRUE(same_bits(to_vector(run(many, x, weight).y), expected)) << to_string(isa);
    for (int64_t t = 0; t < T; t += 13) {
      const auto row = to_vector(run(many, row_range(ConstTensor(x), t, 1), weight).y);
      EXPECT_TRUE(same_bits(row, {expected.begin() + t * D, expected.begin() + (t + 1) * D}));
    }
  }
}

TEST(Norm, RefusesAWeightOfAnotherWidth) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({2, 8}, 5), weight = normal({7}, 6);

  try {
    run(queue, x, weight);
    FAIL() << "no error";
  } catch (const KernelError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("weight is [7] f32, wanted [8] f32"));
  }
}

TEST(Norm, RefusesASecondPartOfAGradientOnTheCpu) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({2, 8}, 5), inverse = normal({2}, 7), more = allocate(Device::cpu, DType::bf16, {2, 8});
  const Buffer dweight = allocate_f32({8});

  try {
    rms_norm_backward_weights(queue, {.dy = x, .x = x, .inverse_rms = inverse, .dy_more = more,
                                      .dweight = dweight});
    FAIL() << "no error";
  } catch (const KernelError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("dy_more is [2, 8] bf16, wanted none but beside dy in bf16"));
  }
}

}  // namespace
}  // namespace troupe::tests
