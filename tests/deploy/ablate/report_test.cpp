#include "deploy/ablate/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace troupe::deploy {
namespace {

ArmResult result(const std::string& name, double loss) {
  ArmResult out;
  out.name = name;
  out.losses.assign(40, loss);
  out.max_violations.assign(40, 0.25);
  out.heldout_loss = loss - 0.5;
  return out;
}

TEST(AblationReport, HasALineForEachArmAndItsDifference) {
  const std::string table = ablation_table({result("base", 3.0), result("worse", 3.3)});

  EXPECT_THAT(table, testing::ContainsRegex("base +3\\.0000 +\\+0\\.00% +2\\.5000"));
  EXPECT_THAT(table, testing::ContainsRegex("worse +3\\.3000 +\\+10\\.00% +2\\.8000.*\\+12\\.00%"));
}

TEST(AblationReport, IsJsonWithEveryLoss) {
  const auto json = nlohmann::json::parse(ablation_json("a run", {result("base", 3.0)}));

  EXPECT_EQ(json["run"], "a run");
  EXPECT_EQ(json["arms"][0]["name"], "base");
  EXPECT_EQ(json["arms"][0]["losses"].size(), 40u);
}

}  // namespace
}  // namespace troupe::deploy
