#include "kernels/ops/logfmt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

std::vector<float> rounded(const ConstTensor& x, int bits) {
  return expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer wide = normal({x.rows(), x.cols() + 3}, 99);
    const Tensor y = columns(Tensor(wide), 1, x.cols());
    round_logfmt(queue, {.x = x, .bits = bits, .y = y});
    queue.wait();
    return to_vector(y);
  });
}

/// All that the codes of a tile decode to, by the C library's functions.
std::vector<double> levels_of(const std::vector<float>& tile, int bits) {
  double low = 1e300, high = -1e300;
  for (const float x : tile) {
    if (x == 0.0f) continue;
    low = std::min(low, std::log(std::abs(static_cast<double>(x))));
    high = std::max(high, std::log(std::abs(static_cast<double>(x))));
  }
  low = std::max(low, high - 32 * std::log(2.0));
  const int codes = (1 << (bits - 1)) - 1;
  std::vector<double> levels{0.0};
  for (int k = 1; k <= codes; ++k) {
    levels.push_back(std::exp(low + (high - low) / (codes - 1) * (k - 1)));
  }
  return levels;
}

TEST(RoundLogfmt, TakesTheNearestOfAllLevelsInLinearSpace) {
  for (const int bits : {4, 8, 10}) {
    const int64_t K = 300;
    const Buffer x = normal({3, K}, 5);
    values<float>(x.view)[17] = 0.0f;
    values<float>(x.view)[130] = 1e-30f;  // below what the tile's range holds: next to 0

    const auto found = rounded(x, bits);

    const auto in = to_vector(x);
    for (size_t i = 0; i < in.size(); ++i) {
      const size_t begin = i - i % K % 128, end = std::min(i - i % K + K, begin + 128);
      const auto levels = levels_of(
          {in.begin() + static_cast<long>(begin), in.begin() + static_cast<long>(end)}, bits);
      double least = 1e300;
      for (const double level : levels) {
        least = std::min(least, std::abs(level - std::abs(static_cast<double>(in[i]))));
      }
      const double error = std::abs(static_cast<double>(found[i]) - in[i]);
      EXPECT_NEAR(error, least, 1e-7 * std::abs(in[i])) << bits << " bits, " << i;
      EXPECT_EQ(std::signbit(found[i]), std::signbit(in[i])) << i;
    }
  }
}

TEST(RoundLogfmt, HasAsManyMagnitudesAsItsBitsSay) {
  const Buffer x = normal({1, 128}, 6);
  std::set<float> magnitudes;
  for (const float y : rounded(x, 4)) magnitudes.insert(std::abs(y));
  EXPECT_LE(magnitudes.size(), 7u);  // 2^3 - 1
  EXPECT_GE(magnitudes.size(), 5u);
}

TEST(RoundLogfmt, KeepsTheGreatestAndTheLeastOfATileAndATileOfOneMagnitude) {
  const Buffer x = normal({1, 128}, 7);
  const auto in = to_vector(x);
  const auto by_size = [](float a, float b) { return std::abs(a) < std::abs(b); };
  const auto found = rounded(x, 8);
  const auto least = std::min_element(in.begin(), in.end(), by_size) - in.begin();
  const auto greatest = std::max_element(in.begin(), in.end(), by_size) - in.begin();
  EXPECT_EQ(found[static_cast<size_t>(least)], in[static_cast<size_t>(least)]);
  EXPECT_EQ(found[static_cast<size_t>(greatest)], in[static_cast<size_t>(greatest)]);

  const std::vector<float> alike{0.3f, -0.3f, 0.0f, -0.0f, 0.3f};
  EXPECT_TRUE(same_bits(rounded(floats(alike, {1, 5}), 8), alike));
  const std::vector<float> zeros{0.0f, -0.0f, 0.0f};
  EXPECT_TRUE(same_bits(rounded(floats(zeros, {1, 3}), 8), zeros));
}

TEST(RoundLogfmt, SpansThirtyTwoPowersOfTwo) {
  const Buffer x = floats({1.0f, 0x1p-32f, 0x1p-33f, 0x1.1p-33f, 0x1p-36f, 0x1p-149f}, {1, 6});
  // 2^-33 stands half way between 0 and the least level: a tie goes to the lesser.
  EXPECT_EQ(rounded(x, 8), (std::vector<float>{1.0f, 0x1p-32f, 0.0f, 0x1p-32f, 0.0f, 0.0f}));
}

TEST(RoundLogfmt, ANanOrAnInfinityMakesItsTileNanAndNoOther) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const Buffer x = normal({2, 140}, 4);
    const auto clean = rounded(x, 8);
    values<float>(x.view)[130] = bad;

    const auto found = rounded(x, 8);

    for (size_t i = 0; i < found.size(); ++i) {
      if (i >= 128 && i < 140) {
        EXPECT_TRUE(std::isnan(found[i])) << i;
      } else {
        EXPECT_EQ(found[i], clean[i]) << i;
      }
    }
  }
}

TEST(RoundLogfmt, TakesNothingAndRefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer none = allocate_f32({0, 32}), x = allocate_f32({2, 32}), y = allocate_f32({2, 31});
  EXPECT_NO_THROW(round_logfmt(queue, {.x = none, .bits = 8, .y = none}));
  EXPECT_THAT(kernel_error([&] { round_logfmt(queue, {.x = x, .bits = 8, .y = y}); }),
              HasSubstr("round_logfmt y is [2, 31] f32, wanted [2, 32] f32"));
  EXPECT_THAT(kernel_error([&] { round_logfmt(queue, {.x = x, .bits = 3, .y = x}); }),
              HasSubstr("round_logfmt bits is 3, wanted 4 to 16"));
}

}  // namespace
}  // namespace troupe::tests
