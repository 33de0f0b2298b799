#include "deploy/records/checkpoint_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using namespace deploy;
using testing::HasSubstr;

ListedCheckpoint known() {
  ListedCheckpoint checkpoint{.step = 50};
  checkpoint.bytes = 3 << 20;
  checkpoint.files = 2;
  checkpoint.parameters = 262144;
  checkpoint.hash = "00000000000000ff";
  checkpoint.arithmetic = "cpu.1";
  checkpoint.age_seconds = 200;
  return checkpoint;
}

TEST(CheckpointList, AgesHaveTwoUnitsAtMost) {
  EXPECT_EQ(age_text(0.9), "0s");
  EXPECT_EQ(age_text(59.9), "59s");
  EXPECT_EQ(age_text(310), "5m10s");
  EXPECT_EQ(age_text(3 * 3600 + 300), "3h05m");
  EXPECT_EQ(age_text(52 * 3600), "2d04h");
}

TEST(CheckpointList, ALineSaysWhatACheckpointIs) {
  const std::string table = to_table(std::vector{known()});

  EXPECT_THAT(table, testing::StartsWith("    step        size  files"));
  EXPECT_THAT(table, HasSubstr("      50      3.0MiB      2          262144  00000000000000ff  "
                               "cpu.1        3m20s  known\n"));
  EXPECT_EQ(to_table({}), "");
}

TEST(CheckpointList, DamageAndObjectionsStandInTheLine) {
  ListedCheckpoint damaged{.step = 5, .damage = "step-5/manifest is damaged"};
  ListedCheckpoint ahead = known();
  ahead.objection = "is ahead of the journal";

  const std::string table = to_table(std::vector{damaged, ahead});

  EXPECT_THAT(table, HasSubstr("       5  step-5/manifest is damaged\n"));
  EXPECT_THAT(table, HasSubstr("3m20s  is ahead of the journal\n"));
}

TEST(CheckpointList, JsonHasTheSame) {
  ListedCheckpoint ahead = known();
  ahead.objection = "is ahead of the journal";

  EXPECT_EQ(to_json(known()).dump(),
            R"({"step":50,"age_seconds":200.0,"bytes":3145728,"files":2,"parameters":262144,)"
            R"("moments":"f32","ema":false,"hash":"00000000000000ff","arithmetic":"cpu.1",)"
            R"("in_journal":true})");
  EXPECT_EQ(to_json(ahead)["in_journal"], false);
  EXPECT_EQ(to_json(ahead)["objection"], "is ahead of the journal");
  EXPECT_EQ(to_json({.step = 5, .damage = "torn"}).dump(),
            R"({"step":5,"age_seconds":0.0,"damage":"torn"})");
}

}  // namespace
}  // namespace troupe::tests
