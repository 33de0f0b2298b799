// Products of groups of rows (kernels/ops/gemm.h): an expert's rows times an expert's weight.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/gemm.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

/// Experts with many rows, one row and none.
const std::vector<int64_t> offsets{0, 0, 40, 41, 41, 300, 317, 321, 321};
constexpr int64_t R = 321;
constexpr size_t groups = 8;

struct Threads {
  explicit Threads(int n) : pool(n), queue(pool) {}
  ThreadPool pool;
  Queue queue;
};

std::vector<Buffer> weights_of(int64_t rows, int64_t cols) {
  std::vector<Buffer> out;
  for (uint32_t g = 0; g < groups; ++g) out.push_back(normal({rows, cols}, 20 + g));
  return out;
}

template <class T>
std::vector<T> views(const std::vector<Buffer>& buffers) {
  return {buffers.begin(), buffers.end()};
}

std::vector<float> grouped(Queue& queue, const ConstTensor& a, const std::vector<Buffer>& b,
                           bool transpose_b, int64_t N) {
  const Buffer c = normal({R, N}, 99);
  grouped_gemm(
      queue,
      {.a = a, .b = views<ConstTensor>(b), .transpose_b = transpose_b, .offsets = offsets, .c = c});
  queue.wait();
  return to_vector(c);
}

// Law 1: a row's result is gemm's, whatever the groups beside it.
TEST(GroupedGemm, IsTheProductOfEachGroupAlone) {
  const IsaGuard guard;
  Threads one(1), two(2), four(4);
  const int64_t K = 75, N = 90;
  const Buffer a_wide = normal({R, K + 6}, 1);
  const ConstTensor a = columns(ConstTensor(a_wide), 3, K);
  for (const bool transpose_b : {false, true}) {
    const auto b = transpose_b ? weights_of(N, K) : weights_of(K, N);
    const Buffer expected = allocate_f32({R, N});
    for (size_t g = 0; g < groups; ++g) {
      const int64_t rows = offsets[g + 1] - offsets[g];
      gemm(one.queue, {.a = row_range(a, offsets[g], rows),
                       .b = b[g],
                       .transpose_a = false,
                       .transpose_b = transpose_b,
                       .c = row_range(Tensor(expected), offsets[g], rows),
                       .add_to_c = false});
    }
    one.queue.wait();
    for (const cpu::Isa isa : cpu::available_isas()) {
      cpu::force_isa(isa);
      for (Threads* threads : {&one, &two, &four}) {
        EXPECT_TRUE(same_bits(grouped(threads->queue, a, b, transpose_b, N), to_vector(expected)))
            << cpu::to_string(isa) << " with " << threads->queue.threads();
      }
    }
  }
}

TEST(GroupedGemm, NaNsOfAGroupStayInIt) {
  Threads two(2);
  const int64_t K = 33, N = 50;
  const Buffer a = normal({R, K}, 1);
  const auto b = weights_of(N, K);
  const auto clean = grouped(two.queue, a, b, true, N);
  for (int64_t i = 0; i < b[4].view.count(); ++i) {
    values<float>(b[4].view)[i] = std::numeric_limits<float>::quiet_NaN();
  }

  const auto c = grouped(two.queue, a, b, true, N);

  for (int64_t i = 0; i < R * N; ++i) {
    const auto at = static_cast<size_t>(i);
    if (i / N >= offsets[4] && i / N < offsets[5]) {
      EXPECT_TRUE(std::isnan(c[at]));
    } else {
      EXPECT_EQ(c[at], clean[at]);
    }
  }
}

// Laws 1 and 2: the chain of a weight gradient runs over the group's rows in order.
TEST(GroupedGemmWeights, IsTheTransposedProductOfEachGroup) {
  const IsaGuard guard;
  Threads one(1), two(2), four(4);
  const int64_t M = 61, N = 70;
  const Buffer dy = normal({R, M}, 1), x = normal({R, N}, 2);
  std::vector<std::vector<float>> expected;
  for (size_t g = 0; g < groups; ++g) {
    const Buffer c = allocate_f32({M, N});
    const int64_t rows = offsets[g + 1] - offsets[g];
    gemm(one.queue, {.a = row_range(ConstTensor(dy), offsets[g], rows),
                     .b = row_range(ConstTensor(x), offsets[g], rows),
                     .transpose_a = true,
                     .transpose_b = false,
                     .c = c,
                     .add_to_c = false});
    one.queue.wait();
    expected.push_back(to_vector(c));
  }
  for (const cpu::Isa isa : cpu::available_isas()) {
    cpu::force_isa(isa);
    for (Threads* threads : {&one, &two, &four}) {
      const auto c = weights_of(M, N);  // what was there must not matter
      grouped_gemm_weights(threads->queue,
                           {.a = dy, .b = x, .offsets = offsets, .c = views<Tensor>(c)});
      threads->queue.wait();
      for (size_t g = 0; g < groups; ++g) {
        EXPECT_TRUE(same_bits(to_vector(c[g]), expected[g])) << g << cpu::to_string(isa);
      }
    }
  }
  EXPECT_TRUE(same_bits(expected[3], std::vector<float>(static_cast<size_t>(M * N), 0.0f)));
}

// Law 1 at sizes where one group is many parts, and with groups in great number.
TEST(GroupedGemm, CoversEveryColumnHoweverWorkIsDealt) {
  Threads one(1), four(4);
  for (const int64_t many : {1, 3, 64}) {
    const int64_t rows = 512, K = 200, N = 270;
    std::vector<int64_t> cuts{0};
    std::vector<ConstTensor> b;
    const Buffer weight = normal({N, K}, 3), a = normal({rows, K}, 4);
    for (int64_t g = 1; g <= many; ++g) {
      cuts.push_back(rows * g * g / (many * many));
      b.push_back(weight);
    }
    const Buffer all = allocate_f32({rows, N}), c = normal({rows, N}, 5);
    gemm(one.queue, {.a = a,
                     .b = weight,
                     .transpose_a = false,
                     .transpose_b = true,
                     .c = all,
                     .add_to_c = false});
    grouped_gemm(four.queue, {.a = a, .b = b, .transpose_b = true, .offsets = cuts, .c = c});
    one.queue.wait();
    four.queue.wait();

    EXPECT_TRUE(same_bits(to_vector(c), to_vector(all))) << many << " groups";
  }
}

std::string error_of(std::vector<int64_t> cuts, int64_t b_cols) {
  Threads one(1);
  const Buffer a = normal({6, 4}, 1), c = normal({6, 5}, 2);
  const Buffer b = normal({5, 4}, 3), other = normal({5, b_cols}, 4);
  try {
    grouped_gemm(
        one.queue,
        {.a = a, .b = {b, other}, .transpose_b = true, .offsets = std::move(cuts), .c = c});
  } catch (const KernelError& e) {
    return e.what();
  }
  return "no error";
}

TEST(GroupedGemm, RefusesOffsetsAndShapesThatDoNotMeet) {
  EXPECT_THAT(error_of({0, 3, 6}, 4), "no error");
  EXPECT_THAT(error_of({0, 3, 6}, 3), HasSubstr("b[1] is [5, 3] f32, wanted [5, 4] f32"));
  EXPECT_THAT(error_of({0, 6}, 4), HasSubstr("offsets have 2 entries, wanted 3 for 2 groups"));
  EXPECT_THAT(error_of({1, 3, 6}, 4), HasSubstr("offsets begin at 1, wanted 0"));
  EXPECT_THAT(error_of({0, 7, 6}, 4), HasSubstr("offsets fall from 7 to 6 at group 1"));
  EXPECT_THAT(error_of({0, 3, 5}, 4), HasSubstr("offsets end at 5, wanted 6"));
  EXPECT_THAT(error_of({}, 4), HasSubstr("offsets have 0 entries"));
}

}  // namespace
}  // namespace troupe::tests
