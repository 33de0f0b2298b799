#include "deploy/options/option_checks.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

std::string checked(const std::string& text) {
  std::string copy = text;
  return deploy::in_range(0, 1)(copy);
}

TEST(OptionChecks, TheRangeIncludesBothEndsAndNothingElse) {
  for (const char* good : {"0", "1", "0.5", "1e-300"}) EXPECT_EQ(checked(good), "") << good;
  for (const char* bad : {"nan", "-nan", "-0.1", "1.1", "inf", "x", ""}) {
    EXPECT_NE(checked(bad), "") << bad;
  }
}

TEST(OptionChecks, NaturalNumbersHave64BitsAndNoSign) {
  for (const char* good : {"0", "7", "18446744073709551615"}) {
    EXPECT_EQ(deploy::is_natural(good), "") << good;
  }
  for (const char* bad : {"-1", "18446744073709551616", "1.5", "x", "", "7x"}) {
    EXPECT_NE(deploy::is_natural(bad), "") << bad;
  }
}

}  // namespace
}  // namespace troupe::tests
