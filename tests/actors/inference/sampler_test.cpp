#include "actors/inference/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace troupe::tests {
namespace {

using actors::sample;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Draw {
  double temperature = 1;
  double top_p = 1;
  uint64_t seed = 1;
  uint32_t sequence = 0;
};

int32_t draw(const std::vector<float>& logits, const Draw& how, uint64_t position) {
  return sample({.logits = logits, .temperature = how.temperature, .top_p = how.top_p,
                 .seed = how.seed, .sequence = how.sequence, .position = position});
}

/// How often each token comes in `n` draws.
std::map<int32_t, int> counts(const std::vector<float>& logits, const Draw& how, int n) {
  std::map<int32_t, int> out;
  for (int i = 0; i < n; ++i) ++out[draw(logits, how, static_cast<uint64_t>(i))];
  return out;
}

TEST(Sampler, WithoutTemperatureTheGreatestLogitWinsAndTiesGoToTheLowerId) {
  EXPECT_EQ(draw({1, 3, 2}, {.temperature = 0}, 5), 1);
  EXPECT_EQ(draw({1, 3, 3}, {.temperature = 0}, 5), 1);
  EXPECT_EQ(draw({-3, -3}, {.temperature = 0}, 5), 0);
}

TEST(Sampler, NotANumberIsNeverDrawn) {
  EXPECT_EQ(draw({nan, 1, nan, 2}, {.temperature = 0}, 0), 3);
  for (uint64_t i = 0; i < 200; ++i) EXPECT_EQ(draw({nan, 1, nan}, {}, i), 1);
  EXPECT_EQ(draw({nan, nan}, {}, 0), 0);
  EXPECT_EQ(draw({}, {}, 0), 0);
}

TEST(Sampler, InfiniteLogitsTakeAllOrNothing) {
  for (uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(draw({1, infinity, -infinity, nan, 2}, {}, i), 1);
    EXPECT_NE(draw({1, -infinity, 2}, {}, i), 1);
  }
  const auto both = counts({infinity, 0, infinity}, {}, 1000);
  EXPECT_THAT(both, testing::UnorderedElementsAre(testing::Key(0), testing::Key(2)));
  const auto none = counts({-infinity, -infinity}, {}, 1000);
  EXPECT_THAT(none, testing::UnorderedElementsAre(testing::Key(0), testing::Key(1)));
}

TEST(Sampler, FrequenciesAreTheSoftmaxOfTheScaledLogits) {
  const std::vector<float> logits{0.5f, -1.0f, 2.0f, 1.0f};
  constexpr int n = 40000;
  for (const double temperature : {0.5, 1.0, 3.0}) {
    const auto found = counts(logits, {.temperature = temperature}, n);

    double sum = 0;
    for (const float x : logits) sum += std::exp(double{x} / temperature);
    for (int32_t id = 0; id < 4; ++id) {
      const double p = std::exp(double{logits[static_cast<size_t>(id)]} / temperature) / sum;
      const double deviation = std::sqrt(n * p * (1 - p));
      EXPECT_NEAR(found.at(id), n * p, 5 * deviation) << id << " at " << temperature;
    }
  }
}

// Probabilities 0.1, 0.4, 0.3, 0.2.
TEST(Sampler, TopPKeepsTheFewestLikeliestTokensOfThatShare) {
  std::vector<float> logits;
  for (const double p : {0.1, 0.4, 0.3, 0.2}) logits.push_back(static_cast<float>(std::log(p)));
  const auto kept = [&](double top_p) {
    std::vector<int32_t> ids;
    for (const auto& [id, n] : counts(logits, {.top_p = top_p}, 3000)) ids.push_back(id);
    return ids;
  };

  EXPECT_THAT(kept(0.0), testing::ElementsAre(1));
  EXPECT_THAT(kept(0.39), testing::ElementsAre(1));
  EXPECT_THAT(kept(0.5), testing::ElementsAre(1, 2));
  EXPECT_THAT(kept(0.75), testing::ElementsAre(1, 2, 3));
  EXPECT_THAT(kept(1.0), testing::ElementsAre(0, 1, 2, 3));
}

TEST(Sampler, AmongEqualTokensTopPKeepsTheLowerIds) {
  const auto found = counts(std::vector<float>(8, 1.0f), {.top_p = 0.2}, 500);

  EXPECT_THAT(found, testing::UnorderedElementsAre(testing::Key(0), testing::Key(1)));
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  for (uint64_t i = 0; i < 200; ++i) EXPECT_EQ(draw({1.0f, 1.5f, -9.0f}, {.temperature = 1e-6}, i), 1);
}

// Law 5: these tokens are part of the definition.
TEST(Sampler, TokensAreAFunctionOfSeedSequenceAndPosition) {
  std::vector<float> logits;
  for (int i = 0; i < 50; ++i) logits.push_back(0.05f * static_cast<float>(i % 7));
  const auto text = [&](const Draw& how) {
    std::vector<int32_t> ids;
    for (uint64_t i = 0; i < 8; ++i) ids.push_back(draw(logits, how, i));
    return ids;
  };

  EXPECT_EQ(text({.seed = 9}), (std::vector<int32_t>{31, 1, 48, 5, 19, 45, 31, 31}));
  EXPECT_NE(text({.seed = 9}), text({.seed = 10}));
  EXPECT_NE(text({.seed = 9}), text({.seed = 9, .sequence = 1}));
}

}  // namespace
}  // namespace troupe::tests
