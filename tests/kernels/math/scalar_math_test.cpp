#include "kernels/math/scalar_math.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/random.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int samples = 50'000;

/// Uniform in [low, high).
double sample(int i, double low, double high) {
  return low + (high - low) * random_uniform({3, Purpose::test, 0, static_cast<uint64_t>(i)});
}

TEST(ScalarMath, ExpHasTheStatedError) {
  for (int i = 0; i < samples; ++i) {
    for (const double x : {sample(i, -708, 709.7), sample(i, -1, 1), sample(i, -1e-9, 1e-9)}) {
      const long double wanted = std::exp(static_cast<long double>(x));
      ASSERT_LT(std::fabs(static_cast<double>((exp_exact(x) - wanted) / wanted)), 1e-15) << x;
    }
    const double tiny = sample(i, -745.1, -708);  // results below the normal range
    ASSERT_NEAR(exp_exact(tiny), static_cast<double>(std::exp(static_cast<long double>(tiny))),
                0x1p-1073)
        << tiny;
  }
}

TEST(ScalarMath, ExpAtTheEnds) {
  EXPECT_EQ(exp_exact(0.0), 1.0);
  EXPECT_EQ(exp_exact(-746.0), 0.0);
  EXPECT_EQ(exp_exact(-infinity), 0.0);
  EXPECT_EQ(exp_exact(infinity), infinity);
  EXPECT_EQ(exp_exact(710.0), infinity);
  EXPECT_TRUE(std::isfinite(exp_exact(709.78)));
  EXPECT_TRUE(std::isnan(exp_exact(std::nan(""))));
}

TEST(ScalarMath, LogHasTheStatedError) {
  for (int i = 0; i < samples; ++i) {
    const double anywhere = std::exp2(sample(i, -1074, 1024));
    for (const double x : {anywhere, sample(i, 0.5, 2.0), sample(i, 0.999, 1.001)}) {
      const double wanted = static_cast<double>(std::log(static_cast<long double>(x)));
      ASSERT_NEAR(log_exact(x), wanted, 1e-15 * std::max(1.0, std::fabs(wanted))) << x;
    }
    const double near = sample(i, 0.9, 1.1);  // relative, where the logarithm is small
    const double wanted = static_cast<double>(std::log(static_cast<long double>(near)));
    ASSERT_NEAR(log_exact(near), wanted, 1e-15 * std::fabs(wanted)) << near;
  }
}

TEST(ScalarMath, LogAtTheEnds) {
  EXPECT_EQ(log_exact(1.0), 0.0);
  EXPECT_EQ(log_exact(0.0), -infinity);
  EXPECT_EQ(log_exact(-0.0), -infinity);
  EXPECT_EQ(log_exact(infinity), infinity);
  EXPECT_TRUE(std::isnan(log_exact(-1.0)));
  EXPECT_TRUE(std::isnan(log_exact(-infinity)));
  EXPECT_TRUE(std::isnan(log_exact(std::nan(""))));
  EXPECT_NEAR(log_exact(0x1p-1074), -1074 * std::numbers::ln2, 1e-12);
}

TEST(ScalarMath, PowHasTheStatedError) {
  for (int i = 0; i < samples; ++i) {
    const double x = sample(i, 0.01, 20'000), y = sample(i + samples, -4, 4);
    if (std::fabs(y * std::log(x)) > 40) continue;
    const long double wanted = std::pow(static_cast<long double>(x), static_cast<long double>(y));
    ASSERT_LT(std::fabs(static_cast<double>((pow_exact(x, y) - wanted) / wanted)), 1e-14);
  }
  EXPECT_EQ(pow_exact(10000.0, 0.0), 1.0);
}

TEST(ScalarMath, SineAndCosineHaveTheStatedError) {
  for (int i = 0; i < samples; ++i) {
    for (const double x : {sample(i, -4, 4), sample(i, -1e6, 1e6), sample(i, -1e-8, 1e-8)}) {
      ASSERT_NEAR(sin_exact(x), static_cast<double>(std::sin(static_cast<long double>(x))), 1e-15)
          << x;
      ASSERT_NEAR(cos_exact(x), static_cast<double>(std::cos(static_cast<long double>(x))), 1e-15)
          << x;
    }
    const double far = sample(i, -1e9, 1e9);
    ASSERT_NEAR(sin_exact(far), static_cast<double>(std::sin(static_cast<long double>(far))),
                1e-12);
    ASSERT_NEAR(cos_exact(far), static_cast<double>(std::cos(static_cast<long double>(far))),
                1e-12);
  }
}

// Multiples of a quarter turn, where the reduction loses most.
TEST(ScalarMath, SineAndCosineNearTheirZeros) {
  for (int64_t k = -2000; k <= 2000; ++k) {
    const double x = static_cast<double>(k) * (std::numbers::pi / 2);
    ASSERT_NEAR(sin_exact(x), static_cast<double>(std::sin(static_cast<long double>(x))), 1e-15);
    ASSERT_NEAR(cos_exact(x), static_cast<double>(std::cos(static_cast<long double>(x))), 1e-15);
  }
  EXPECT_EQ(sin_exact(0.0), 0.0);
  EXPECT_EQ(cos_exact(0.0), 1.0);
}

}  // namespace
}  // namespace troupe::tests
