#include "runtime/data/mixture.h"

#include <gmock/gmock.h>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::uint32_t> sources(Mixture& mixture, std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint32_t> result;
  for (const auto& draw : mixture.draws(first, count)) result.push_back(draw.source);
  return result;
}

/// Checks that every prefix of the first `n` sequences has each source's share to within one.
void expect_exact_shares(const std::vector<double>& weights, std::uint64_t n) {
  Mixture mixture(weights);
  double sum = 0;
  for (const double weight : weights) sum += weight;
  std::vector<std::uint64_t> counts(weights.size(), 0);
  std::uint64_t i = 0;
  for (const auto& draw : mixture.draws(0, n)) {
    ASSERT_EQ(draw.index, counts[draw.source]) << "sequence " << i;
    ++counts[draw.source];
    ++i;
    for (std::size_t s = 0; s < weights.size(); ++s) {
      const double wanted = weights[s] / sum * static_cast<double>(i);
      ASSERT_LT(std::abs(static_cast<double>(counts[s]) - wanted), 1 + 1e-6)
          << "source " << s << " after " << i << " sequences";
    }
  }
}

TEST(Mixture, EveryPrefixHasTheSharesToWithinOneSequence) {
  expect_exact_shares({0.7, 0.3}, 10'000);
  expect_exact_shares({1, 1, 1}, 1'000);
  expect_exact_shares({0.5, 0.25, 0.125, 0.125}, 1'000);
  expect_exact_shares({1000, 0.001}, 2'000'000);
}

TEST(Mixture, SharesAreExactForManySourcesOfAnyWeight) {
  for (std::uint32_t round = 0; round < 20; ++round) {
    std::vector<double> weights;
    for (std::uint64_t s = 0; s < 2 + round * 2; ++s) {
      const double u = kernels::random_uniform(
          {.seed = 3, .purpose = kernels::Purpose::test, .stream = round, .position = s});
      weights.push_back(std::round((0.01 + u * u * u) * 1e6) / 1e6);
    }
    expect_exact_shares(weights, 5'000);
  }
}

// Here the rule "the source furthest behind" leaves the third source more than a sequence behind.
TEST(Mixture, SmallSourcesBesideLargeOnesAreNotLate) {
  expect_exact_shares({100, 100, 10, 3}, 1000);
  expect_exact_shares({100, 100, 100, 30, 3}, 1000);
}

TEST(Mixture, TiesGoToTheLowerNumber) {
  const double equal[] = {2, 2, 2};
  Mixture mixture(equal);

  EXPECT_THAT(sources(mixture, 0, 6), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_EQ(mixture.period(), 3u);
}

TEST(Mixture, DrawIsAFunctionOfTheSequencesNumber) {
  const double weights[] = {0.517003, 0.3, 0.182997};
  Mixture straight(weights);
  const auto wanted = straight.draws(0, 30'000);

  for (std::uint64_t first = 29'990; first > 5'000; first -= 4'999) {
    Mixture mixture(weights);
    const auto found = mixture.draws(first, 10);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].source, wanted[first + i].source) << first;
      EXPECT_EQ(found[i].index, wanted[first + i].index) << first;
    }
  }
}

TEST(Mixture, FarSequencesFollowFromThePeriod) {
  const double weights[] = {0.7, 0.3};
  Mixture mixture(weights);
  const std::uint64_t far = std::uint64_t{10} << 55;

  const auto near = mixture.draws(3, 20), later = mixture.draws(far + 3, 20);

  EXPECT_EQ(mixture.period(), 10u);
  for (std::size_t i = 0; i < near.size(); ++i) {
    EXPECT_EQ(later[i].source, near[i].source);
    EXPECT_EQ(later[i].index, near[i].index + (later[i].source == 0 ? far / 10 * 7 : far / 10 * 3));
  }
}

TEST(Mixture, OneSourceIsTheStreamItself) {
  const double one[] = {5};
  Mixture mixture(one);

  EXPECT_EQ(mixture.draws(1'234'567, 2)[1].index, 1'234'568u);
}

TEST(Mixture, WeightsOutOfRangeAreRefused) {
  const double bad[] = {1, 0}, nan[] = {std::nan("")}, huge[] = {1e9};

  EXPECT_THAT([&] { Mixture mixture(bad); },
              ThrowsMessage<DataError>(HasSubstr("the weight of source 1 is 0.0")));
  EXPECT_THROW(Mixture mixture(nan), DataError);
  EXPECT_THROW(Mixture mixture(huge), DataError);
  EXPECT_THROW(Mixture mixture({}), DataError);
}

}  // namespace
}  // namespace troupe::runtime
