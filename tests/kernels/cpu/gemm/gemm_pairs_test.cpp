#include "kernels/cpu/gemm/gemm_pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/gemm.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;

struct Case {
  int64_t M, N, K;
  bool transpose_b;
};

/// One row of blocks, several, a few rows, odd depths, deeper than a block of k.
const Case cases[] = {{1, 40, 33, true},   {5, 33, 1, false},  {13, 70, 96, true},    {12, 32, 513, false},
                      {50, 257, 75, true}, {27, 16, 8, false}, {30, 290, 1100, true}, {3, 5, 0, true}};

float rounded(float x) { return bf16_to_f32(f32_to_bf16(x)); }

/// What a NaN looks like is nobody's promise.
std::vector<float> without_payloads(std::vector<float> numbers) {
  for (float& x : numbers) {
    if (std::isnan(x)) x = std::numeric_limits<float>::quiet_NaN();
  }
  return numbers;
}

std::vector<float> product(Queue& queue, const Case& x, const Buffer& a, const Buffer& b) {
  const Buffer c = normal({x.M, x.N}, 99);
  grouped_gemm(queue, {.a = a, .b = {b}, .transpose_b = x.transpose_b, .offsets = {0, x.M}, .c = c,
                       .operands = Operands::rounded_to_bf16});
  queue.wait();
  return without_payloads(to_vector(c));
}

/// The law written down: one chain of FMAs of rounded numbers over k ascending, from +0.
std::vector<float> chains(const Case& x, const Buffer& a, const Buffer& b) {
  const auto as = to_vector(a), bs = to_vector(b);
  std::vector<float> c;
  for (int64_t m = 0; m < x.M; ++m) {
    for (int64_t n = 0; n < x.N; ++n) {
      float sum = 0.0f;
      for (int64_t k = 0; k < x.K; ++k) {
        sum = std::fma(rounded(as[static_cast<size_t>(m * x.K + k)]),
                       rounded(bs[static_cast<size_t>(x.transpose_b ? n * x.K + k : k * x.N + n)]), sum);
      }
      c.push_back(sum);
    }
  }
  return without_payloads(std::move(c));
}

struct Operand {
  Buffer a, b;
};

/// Normal numbers of two scales; one of a in `zeros_every` is a zero of either sign.
Operand operands(const Case& x, float a_scale, float b_scale, int64_t zeros_every = 0) {
  Operand out{normal({x.M, x.K}, 3, a_scale), normal({x.transpose_b ? x.N : x.K, x.transpose_b ? x.K : x.N}, 4, b_scale)};
  for (int64_t i = 0; zeros_every > 0 && i < x.M * x.K; i += zeros_every) {
    values<float>(out.a.view)[i] = i % 2 == 0 ? 0.0f : -0.0f;
  }
  return out;
}

std::string name(const Case& x, float scale) {
  return std::to_string(x.M) + " x " + std::to_string(x.N) + " x " + std::to_string(x.K) + ", numbers of " +
         std::to_string(std::ilogb(scale));
}

void expect_chains(const Case& x, const Operand& o, float scale) {
  const auto found = expect_same_bits_everywhere([&](Queue& queue) { return product(queue, x, o.a, o.b); });
  EXPECT_TRUE(same_bits(found, chains(x, o.a, o.b))) << name(x, scale);
}

// Law 1, in every arrangement.
TEST(RoundedOperands, GiveTheChainOfRoundedNumbers) {
  for (const Case& x : cases) expect_chains(x, operands(x, 1.0f, 0.006f, 3), 1.0f);
}

// A processor's pairs round numbers below 2^-126 to zero; the law does not.
TEST(RoundedOperands, KeepSumsAndNumbersThatAreNotNormal) {
  for (const Case& x : cases) {
    for (const float scale : {0x1p-50f, 0x1p-56f, 0x1p-60f, 0x1p-63f, 0x1p-66f, 0x1p-74f}) {
      expect_chains(x, operands(x, scale, scale), scale);
    }
    expect_chains(x, operands(x, 0x1p-130f, 1.0f), 0x1p-130f);
    expect_chains(x, operands(x, 1.0f, 0x1p-130f), 0x1p-130f);
    expect_chains(x, operands(x, 0x1p-133f, 0x1p100f), 0x1p-133f);
  }
}

/// Numbers of either sign between one power of two and the next.
Buffer of_exponent(std::initializer_list<int64_t> shape, int exponent, uint32_t stream) {
  const Buffer out = allocate_f32(shape);
  const auto bits = random_integers(out.view.count(), 256, stream);
  for (size_t i = 0; i < bits.size(); ++i) {
    const float magnitude = std::ldexp(1.0f + static_cast<float>(bits[i] % 128) / 128, exponent);
    values<float>(out.view)[i] = bits[i] < 128 ? magnitude : -magnitude;
  }
  return out;
}

// Sums that cancel down to 2^-126, and to less: where pairs are used, and where they are no more.
TEST(RoundedOperands, KeepSumsAtTheLimitOfWhatPairsHold) {
  const Case x{13, 70, 96, true};
  for (const int exponent : {-55, -56, -57}) {
    const Operand o{of_exponent({x.M, x.K}, -56, 1), of_exponent({x.N, x.K}, exponent, 2)};
    expect_chains(x, o, std::ldexp(1.0f, exponent));
  }
}

// Depth behind depth: sums that are not normal wait in memory while there is nothing to add.
TEST(RoundedOperands, KeepSumsOfOneBlockOfKForTheNext) {
  const Case x{13, 40, 1024, true};
  const Operand o = operands(x, 0x1p-134f, 1.0f);
  for (int64_t m = 0; m < x.M; ++m) {
    for (int64_t k = 512; k < x.K; ++k) values<float>(o.a.view)[m * x.K + k] = 0.0f;
  }
  expect_chains(x, o, 0x1p-134f);
}

TEST(RoundedOperands, GiveInfinityWhereTheChainDoes) {
  for (const Case& x : cases) {
    if (x.K < 2) continue;
    const Operand large = operands(x, 0x1p63f, 0x1p63f);
    expect_chains(x, large, 0x1p63f);
    const auto expected = chains(x, large.a, large.b);
    EXPECT_TRUE(x.K < 33 || std::any_of(expected.begin(), expected.end(), [](float c) { return std::isinf(c); }));
    const Operand o = operands(x, 1.0f, 1.0f);
    values<float>(o.a.view)[1] = std::numeric_limits<float>::infinity();
    expect_chains(x, o, 1.0f);
  }
}

TEST(RoundedOperands, ANaNStaysInItsRow) {
  const Case x{20, 40, 60, true};
  const Operand o = operands(x, 1.0f, 1.0f);
  const auto clean = chains(x, o.a, o.b);
  values<float>(o.a.view)[7 * x.K + 5] = std::numeric_limits<float>::quiet_NaN();
  const IsaGuard guard;
  ThreadPool pool(2);
  Queue queue(pool);
  for (const cpu::Isa isa : cpu::available_isas()) {
    cpu::force_isa(isa);
    const auto found = product(queue, x, o.a, o.b);
    for (int64_t i = 0; i < x.M * x.N; ++i) {
      const auto at = static_cast<size_t>(i);
      EXPECT_TRUE(i / x.N == 7 ? std::isnan(found[at]) : found[at] == clean[at]) << to_string(isa) << " " << i;
    }
  }
}

// Laws 1 and 2, for operands of every scale.
TEST(RoundedOperands, GiveWeightsTheirGradientsOfRoundedNumbers) {
  const int64_t R = 150, M = 45, N = 70;
  const std::vector<int64_t> offsets{0, 0, 33, 34, 150};
  const std::pair<float, float> scales[] = {
      {1.0f, 1.0f}, {0x1p-40f, 0x1p-40f}, {0x1p-64f, 0x1p-64f}, {0x1p-130f, 1.0f}, {1.0f, 0x1p-130f}};
  for (const auto& [dy_scale, x_scale] : scales) {
    const Buffer dy = normal({R, M}, 1, dy_scale), x = normal({R, N}, 2, x_scale);
    const auto dys = to_vector(dy), xs = to_vector(x);
    std::vector<float> expected;
    for (size_t g = 0; g + 1 < offsets.size(); ++g) {
      for (int64_t i = 0; i < M * N; ++i) {
        float sum = 0.0f;
        for (int64_t r = offsets[g]; r < offsets[g + 1]; ++r) {
          sum = std::fma(rounded(dys[static_cast<size_t>(r * M + i / N)]),
                         rounded(xs[static_cast<size_t>(r * N + i % N)]), sum);
        }
        expected.push_back(sum);
      }
    }
    const auto found = expect_same_bits_everywhere([&](Queue& queue) {
      const Buffer all = normal({4 * M, N}, 9);
      std::vector<Tensor> c;
      for (int64_t g = 0; g < 4; ++g) c.push_back(row_range(Tensor(all), g * M, M));
      grouped_gemm_weights(queue, {.a = dy, .b = x, .offsets = offsets, .c = c,
                                   .operands = Operands::rounded_to_bf16});
      queue.wait();
      return to_vector(all);
    });
    EXPECT_TRUE(same_bits(found, expected)) << dy_scale << " " << x_scale;
  }
}

TEST(Pairs, AreThereWhereTheProcessorSumsThemAsTheLawSays) {
  const auto found = cpu::available_isas();
  if (found.back() < cpu::Isa::avx512 || !__builtin_cpu_supports("avx512bf16")) {
    GTEST_SKIP() << "this processor has no AVX512_BF16";
  }
  EXPECT_EQ(found.back() == cpu::Isa::avx512_bf16, cpu::sums_pairs_in_turn());
}

}  // namespace
}  // namespace troupe::tests
