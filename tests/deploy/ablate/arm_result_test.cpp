#include "deploy/ablate/arm_result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace troupe::deploy {
namespace {

using testing::HasSubstr;

ArmResult falling(double offset) {
  ArmResult result;
  for (int step = 0; step < 100; ++step) {
    result.losses.push_back(4.0 - 0.01 * step + offset);
    result.max_violations.push_back(step < 90 ? 2.0 : 0.5);
    result.tokens_per_second.push_back(step % 2 == 0 ? 100.0 : 300.0);
  }
  return result;
}

TEST(ArmResult, LastFiguresAreMeansOverTheLastTenth) {
  const ArmResult result = falling(0);

  EXPECT_NEAR(result.last_loss(), 4.0 - 0.01 * 94.5, 1e-12);
  EXPECT_EQ(result.last_max_violation(), 0.5);
  EXPECT_EQ(result.median_tokens_per_second(), 300.0);
}

TEST(ArmResult, TheSmoothedMeanBeginsAtTheFirstValueAndFollows) {
  EXPECT_EQ(smoothed({1.0, 1.0, 4.0}, 3), (std::vector<double>{1.0, 1.0, 2.5}));
}

TEST(ArmResult, TheDifferenceIsRelativeToTheBase) {
  EXPECT_EQ(relative_loss_difference(falling(0), falling(0)), 0.0);
  // The base's loss over the last quarter, smoothed, lies near 3.22.
  EXPECT_NEAR(relative_loss_difference(falling(0.3), falling(0)), 0.3 / 3.22, 2e-3);
}

TEST(ArmResult, OfAFolderWithoutARunIsRefused) {
  const std::filesystem::path folder = testing::TempDir() + "/ablate_empty";
  std::filesystem::create_directories(folder);
  std::filesystem::remove(folder / "metrics.jsonl");

  EXPECT_THAT([&] { read_arm_result("a", folder); },
              testing::ThrowsMessage<std::runtime_error>(HasSubstr("holds no finished run")));

  std::ofstream(folder / "metrics.jsonl") << "{\"loss\":1,\n";
  EXPECT_THAT([&] { read_arm_result("a", folder); },
              testing::ThrowsMessage<std::runtime_error>(HasSubstr("metrics.jsonl:1: ")));
}

}  // namespace
}  // namespace troupe::deploy
