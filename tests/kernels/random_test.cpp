#include "kernels/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::ElementsAre;

// Law 5. Source: the known-answer file of the Random123 library (kat_vectors, philox4x32 10).
TEST(Random, PhiloxGivesTheKnownAnswers) {
  EXPECT_THAT(philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(
      philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
      ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(
      philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(Random, EveryPartOfTheKeyChangesTheNumber) {
  const RandomKey key{1, Purpose::test, 2, 3};
  std::set<uint64_t> seen{random_bits(key)};

  seen.insert(random_bits({2, Purpose::test, 2, 3}));
  seen.insert(random_bits({1 + (uint64_t{1} << 32), Purpose::test, 2, 3}));
  seen.insert(random_bits({1, Purpose::shuffle, 2, 3}));
  seen.insert(random_bits({1, Purpose::test, 3, 3}));
  seen.insert(random_bits({1, Purpose::test, 2, 4}));
  seen.insert(random_bits({1, Purpose::test, 2, 3 + (uint64_t{1} << 32)}));

  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(random_bits(key), random_bits(RandomKey{1, Purpose::test, 2, 3}));
}

TEST(Random, UniformNumbersAreUniform) {
  const int n = 100'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = random_uniform({1, Purpose::test, 0, static_cast<uint64_t>(i)});
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }

  EXPECT_NEAR(sum / n, 0.5, 0.004);  // 4 standard deviations
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.004);
}

TEST(Random, NormalNumbersHaveTheirMoments) {
  const int n = 100'000;
  double moments[5] = {};
  for (int i = 0; i < n; ++i) {
    double power = 1;
    const double x = random_normal({1, Purpose::test, 0, static_cast<uint64_t>(i)});
    ASSERT_TRUE(std::isfinite(x));
    for (double& moment : moments) {
      moment += power / n;
      power *= x;
    }
  }

  EXPECT_NEAR(moments[1], 0.0, 0.013);
  EXPECT_NEAR(moments[2], 1.0, 0.018);
  EXPECT_NEAR(moments[3], 0.0, 0.05);
  EXPECT_NEAR(moments[4], 3.0, 0.13);
}

TEST(Random, BelowReachesEveryNumberAboutEquallyOften) {
  std::vector<int> counts(7);
  for (uint64_t i = 0; i < 70'000; ++i) ++counts.at(random_below({1, Purpose::test, 0, i}, 7));

  EXPECT_THAT(counts, testing::Each(testing::AllOf(testing::Gt(9600), testing::Lt(10'400))));
  EXPECT_EQ(random_below({1, Purpose::test, 0, 0}, 1), 0u);
}

}  // namespace
}  // namespace troupe::tests
