#include "deploy/ablate/arms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/validate.h"

namespace troupe::deploy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names(const std::vector<std::string>& over) {
  std::vector<std::string> out;
  for (const Arm& arm : arms_of(over)) out.push_back(arm.name);
  return out;
}

std::string refusal(const std::vector<std::string>& over) {
  try {
    arms_of(over);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

TEST(Arms, TheBaseComesFirstAndChangesNothing) {
  const std::vector<std::string> over{"mtp"};
  const auto arms = arms_of(over);

  EXPECT_EQ(arms[0].name, "base");
  EXPECT_TRUE(arms[0].settings.empty());
}

TEST(Arms, ANamedSwitchGivesItsArms) {
  EXPECT_THAT(names({"precision", "bias"}),
              ElementsAre("base", "fp32", "bf16", "fp8", "no-bias", "auxiliary-loss", "no-balance"));
}

TEST(Arms, OfTheAttentionAreModelsForTheTinyRun) {
  const std::vector<std::string> over{"attention"};
  for (const Arm& arm : arms_of(over)) {
    const config::LoadedRun run = config::load_run(
        TROUPE_SOURCE_DIR "/config/runs/pretrain_tiny.textproto", arm.settings);
    const config::LoadedModel model = config::model_of(run);
    EXPECT_NO_THROW(config::validate(model)) << arm.name;
    EXPECT_NO_THROW(config::validate(run, model)) << arm.name;
    EXPECT_EQ(model.model.attention() == config::Model::MLA, arm.name == "base") << arm.name;
  }
}

TEST(Arms, AFieldGivesAnArmForEachValue) {
  const std::vector<std::string> over{"train.optimizer.lr=1e-3|3e-3",
                                      "model.file=config/models/tiny.textproto"};
  const auto arms = arms_of(over);

  ASSERT_EQ(arms.size(), 4u);
  EXPECT_EQ(arms[2].name, "lr=3e-3");
  EXPECT_THAT(arms[2].settings, ElementsAre("train.optimizer.lr=3e-3"));
  EXPECT_EQ(arms[3].name, "file=tiny.textproto");
}

TEST(Arms, NamesAreNamesOfFolders) {
  EXPECT_EQ(names({"data.text=a b;c"})[1], "text=a_b_c");
}

TEST(Arms, WhatIsNoSwitchIsRefusedByName) {
  EXPECT_THAT(refusal({"bios"}), HasSubstr("--over bios: found no such switch, wanted one of bias"));
  EXPECT_THAT(refusal({"train.seed="}), HasSubstr("--over train.seed="));
  EXPECT_THAT(refusal({"train.seed=1||2"}), HasSubstr("found an empty value"));
  EXPECT_THAT(refusal({"mtp", "mtp"}), HasSubstr("found the arm mtp-0 twice"));
}

}  // namespace
}  // namespace troupe::deploy
