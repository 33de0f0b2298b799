#include "kernels/ops/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/kernels/fixtures.h"
#include "tests/kernels/reference/gemm.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

/// A pool and a queue on it.
struct Threads {
  explicit Threads(int n) : pool(n), queue(pool) {}
  ThreadPool pool;
  Queue queue;
};

struct Case {
  int64_t M, N, K;
  bool transpose_a, transpose_b;
};

std::string name(const Case& x) {
  return "M " + std::to_string(x.M) + " N " + std::to_string(x.N) + " K " + std::to_string(x.K) +
         (x.transpose_a ? " transpose_a" : "") + (x.transpose_b ? " transpose_b" : "");
}

/// A matrix whose rows stand 5 elements apart, for what must honour row_stride.
ConstTensor slice(const Buffer& wide, int64_t cols) { return columns(ConstTensor(wide), 2, cols); }

struct Operands {
  explicit Operands(const Case& x, uint32_t seed = 11)
      : a_wide(normal({x.transpose_a ? x.K : x.M, (x.transpose_a ? x.M : x.K) + 5}, seed)),
        b_wide(normal({x.transpose_b ? x.N : x.K, (x.transpose_b ? x.K : x.N) + 5}, seed + 1)),
        a(slice(a_wide, x.transpose_a ? x.M : x.K)),
        b(slice(b_wide, x.transpose_b ? x.K : x.N)) {}
  Buffer a_wide, b_wide;
  ConstTensor a, b;
};

std::vector<float> product(Queue& queue, const Case& x, const ConstTensor& a,
                           const ConstTensor& b) {
  const Buffer c = normal({x.M, x.N}, 99);  // what was there must not matter
  gemm(queue, {.a = a,
               .b = b,
               .transpose_a = x.transpose_a,
               .transpose_b = x.transpose_b,
               .c = c,
               .add_to_c = false});
  queue.wait();
  return to_vector(c);
}

/// The law written down: one chain of FMAs over k ascending, from +0.
std::vector<float> chains(const Case& x, const ConstTensor& a, const ConstTensor& b) {
  const std::vector<float> as = to_vector(a), bs = to_vector(b);
  std::vector<float> c;
  for (int64_t m = 0; m < x.M; ++m) {
    for (int64_t n = 0; n < x.N; ++n) {
      float sum = 0.0f;
      for (int64_t k = 0; k < x.K; ++k) {
        sum = std::fma(as[static_cast<size_t>(x.transpose_a ? k * x.M + m : m * x.K + k)],
                       bs[static_cast<size_t>(x.transpose_b ? n * x.K + k : k * x.N + n)], sum);
      }
      c.push_back(sum);
    }
  }
  return c;
}

std::vector<Case> odd_cases() {
  std::vector<Case> cases;
  const int64_t shapes[][3] = {{1, 1, 1},     {1, 33, 65},   {2, 16, 300}, {3, 100, 7},
                               {4, 47, 129},  {5, 48, 64},   {7, 31, 16},  {12, 32, 256},
                               {13, 65, 257}, {16, 64, 128}, {37, 1, 515}, {1027, 33, 17},
                               {100, 70, 90}, {0, 5, 4},     {6, 0, 4},    {6, 5, 0}};
  for (const auto& s : shapes) {
    for (int t = 0; t < 4; ++t) cases.push_back({s[0], s[1], s[2], (t & 1) != 0, (t & 2) != 0});
  }
  return cases;
}

// Law 1: every instruction set and thread count computes the chain that the contract writes down.
TEST(Gemm, IsOneChainOfFmasInEveryShapeOnEveryInstructionSetAndThreadCount) {
  const IsaGuard guard;
  Threads one(1), two(2), four(4);
  for (const Case& x : odd_cases()) {
    const Operands in(x);
    const auto expected = chains(x, in.a, in.b);
    for (const cpu::Isa isa : cpu::available_isas()) {
      cpu::force_isa(isa);
      for (Threads* threads : {&one, &two, &four}) {
        EXPECT_TRUE(same_bits(product(threads->queue, x, in.a, in.b), expected))
            << name(x) << " on " << cpu::to_string(isa) << " with " << threads->queue.threads();
      }
    }
  }
}

// Law 1, large enough that every thread has parts and that rows (whatever the size of the second
// cache: 1,024 at most) and k are walked in several blocks.
TEST(Gemm, LargeProductsHaveTheSameBitsOnOneThreadAndOnFour) {
  Threads one(1), four(4);
  for (int t = 0; t < 4; ++t) {
    const Case x{1030, 197, 700, (t & 1) != 0, (t & 2) != 0};
    const Operands in(x);

    const auto single = product(one.queue, x, in.a, in.b);

    EXPECT_TRUE(same_bits(single, chains(x, in.a, in.b))) << name(x);
    EXPECT_TRUE(same_bits(product(four.queue, x, in.a, in.b), single)) << name(x);
  }
}

// Law 1: decode (a row at a time) and prefill (all rows) are one function.
TEST(Gemm, ARowHasTheSameBitsAloneAndAmongOthers) {
  Threads two(2);
  for (const bool transpose_b : {false, true}) {
    const Case x{67, 150, 300, false, transpose_b};
    const Operands in(x);
    const auto all = product(two.queue, x, in.a, in.b);
    for (const int64_t rows : {1, 2, 3, 4, 5, 8, 17}) {
      for (int64_t first = 0; first + rows <= x.M; first += 25) {
        const Case part{rows, x.N, x.K, false, transpose_b};
        const auto some = product(two.queue, part, row_range(in.a, first, rows), in.b);
        EXPECT_TRUE(
            same_bits(some, {all.begin() + first * x.N, all.begin() + (first + rows) * x.N}))
            << name(part) << " from row " << first;
      }
    }
  }
}

TEST(Gemm, WritesItsColumnsAndNothingBesideThem) {
  Threads two(2);
  const Case x{30, 37, 40, false, true};
  const Operands in(x);
  const Buffer wide = normal({x.M, x.N + 9}, 5);
  const auto before = to_vector(wide);
  const auto expected = product(two.queue, x, in.a, in.b);

  gemm(two.queue, {.a = in.a,
                   .b = in.b,
                   .transpose_a = false,
                   .transpose_b = true,
                   .c = columns(Tensor(wide), 4, x.N),
                   .add_to_c = false});
  two.queue.wait();

  EXPECT_TRUE(same_bits(to_vector(columns(ConstTensor(wide), 4, x.N)), expected));
  const auto after = to_vector(wide);
  for (int64_t m = 0; m < x.M; ++m) {
    for (int64_t n = 0; n < x.N + 9; ++n) {
      const size_t i = static_cast<size_t>(m * (x.N + 9) + n);
      if (n >= 4 && n < 4 + x.N) continue;
      EXPECT_EQ(after[i], before[i]) << m << ", " << n;
    }
  }
}

// Law 2: a unit's product is formed from zero, then added once.
TEST(Gemm, AddsTheWholeProductToCInOneRounding) {
  const IsaGuard guard;
  Threads one(1), two(2);
  for (const Case& x : {Case{1, 40, 600, false, true}, Case{50, 40, 600, false, true},
                        Case{50, 70, 600, true, false}, Case{9, 70, 30, false, false},
                        Case{300, 70, 600, false, false}, Case{9, 7, 0, false, false}}) {
    const Operands in(x);
    const Buffer start = normal({x.M, x.N}, 8);
    const auto sums = chains(x, in.a, in.b);
    std::vector<float> expected = to_vector(start);
    for (size_t i = 0; i < sums.size(); ++i) expected[i] += sums[i];
    for (const cpu::Isa isa : cpu::available_isas()) {
      cpu::force_isa(isa);
      for (Threads* threads : {&one, &two}) {
        const Buffer c = normal({x.M, x.N}, 8);
        gemm(threads->queue, {.a = in.a,
                              .b = in.b,
                              .transpose_a = x.transpose_a,
                              .transpose_b = x.transpose_b,
                              .c = c,
                              .add_to_c = true});
        threads->queue.wait();
        EXPECT_TRUE(same_bits(to_vector(c), expected)) << name(x) << " " << cpu::to_string(isa);
      }
    }
  }
}

TEST(Gemm, AgreesWithDoublePrecision) {
  Threads two(2);
  for (int t = 0; t < 4; ++t) {
    const Case x{130, 77, 600, (t & 1) != 0, (t & 2) != 0};
    const Operands in(x);
    const auto expected = reference::product({.a = to_doubles(in.a),
                                              .b = to_doubles(in.b),
                                              .M = x.M,
                                              .N = x.N,
                                              .K = x.K,
                                              .transpose_a = x.transpose_a,
                                              .transpose_b = x.transpose_b});

    const auto c = product(two.queue, x, in.a, in.b);

    for (size_t i = 0; i < c.size(); ++i) {
      // A chain of K roundings errs by less than K * 2^-24 of the sum of absolute products.
      EXPECT_NEAR(c[i], expected.c[i], 600 * std::ldexp(1.0, -24) * expected.absolute[i]) << i;
    }
  }
}

TEST(Gemm, ARowOfNaNsStaysARowOfNaNs) {
  Threads two(2);
  for (const bool transpose_b : {false, true}) {
    const Case x{20, 37, 50, false, transpose_b};
    const Operands in(x);
    const auto clean = product(two.queue, x, in.a, in.b);
    for (int64_t k = 0; k < x.K; ++k) {
      values<float>(in.a_wide.view)[7 * in.a.row_stride + 2 + k] =
          std::numeric_limits<float>::quiet_NaN();
    }

    const auto c = product(two.queue, x, in.a, in.b);

    for (int64_t i = 0; i < x.M * x.N; ++i) {
      const auto at = static_cast<size_t>(i);
      if (i / x.N == 7) {
        EXPECT_TRUE(std::isnan(c[at]));
      } else {
        EXPECT_EQ(c[at], clean[at]);
      }
    }
  }
}

std::string error_of(const GemmArgs& args) {
  Threads one(1);
  try {
    gemm(one.queue, args);
  } catch (const KernelError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Gemm, RefusesShapesThatDoNotMeet) {
  const Buffer a = normal({4, 6}, 1), b = normal({5, 3}, 2), c = normal({4, 3}, 3);
  const Buffer narrow = normal({4, 2}, 4), inner = normal({6, 3}, 5);

  EXPECT_THAT(
      error_of(
          {.a = a, .b = b, .transpose_a = false, .transpose_b = false, .c = c, .add_to_c = false}),
      HasSubstr("gemm b is [5, 3] f32, wanted [6, 3] f32"));
  EXPECT_THAT(
      error_of(
          {.a = a, .b = b, .transpose_a = false, .transpose_b = true, .c = c, .add_to_c = false}),
      HasSubstr("gemm b (transposed) is [5, 3] f32, wanted [5, 6] f32"));
  EXPECT_THAT(error_of({.a = a,
                        .b = inner,
                        .transpose_a = false,
                        .transpose_b = false,
                        .c = narrow,
                        .add_to_c = false}),
              HasSubstr("gemm c is [4, 2] f32, wanted [4, 3] f32"));
  EXPECT_THAT(error_of({.a = allocate(DType::bf16, {4, 6}),
                        .b = inner,
                        .transpose_a = false,
                        .transpose_b = false,
                        .c = c,
                        .add_to_c = false}),
              HasSubstr("gemm a is [4, 6] bf16, wanted [4, 6] f32"));
}

}  // namespace
}  // namespace troupe::tests
