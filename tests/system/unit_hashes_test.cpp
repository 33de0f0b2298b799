// A run with train.unit_hashes: `troupe replay` names the first unit of work that differs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/state/unit_file.h"
#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class UnitHashes : public ProgramTest {
 protected:
  static std::string with_units(const std::string& more = "") {
    return train("--set train.unit_hashes=true --set checkpoint.every=1000 " + more);
  }
  fs::path units(int step) const {
    return folder_ / "run/units" / ("step-" + std::to_string(step));
  }
  /// "step 7  its 1234 units: the recorded ones"
  std::string same_units(int step) const {
    const auto found = runtime::read_units(folder_ / "run/units", static_cast<uint64_t>(step));
    return "step " + std::to_string(step) + "  its " + std::to_string(found.units_size()) +
           " units: the recorded ones\n";
  }
};

TEST_F(UnitHashes, AReplayMeetsTheRecordedUnitsOfEveryStep) {
  ASSERT_EQ(troupe(with_units()), 0) << output_;

  ASSERT_EQ(troupe("replay run --step 4"), 0) << output_;

  EXPECT_THAT(output_, AllOf(HasSubstr(same_units(1)), HasSubstr(same_units(4))));
  EXPECT_FALSE(fs::exists(units(13)));
}

TEST_F(UnitHashes, TheyChangeNoBitAndNoLayoutShowsInThem) {
  ASSERT_EQ(troupe(train("--set checkpoint.every=1000")), 0) << output_;
  const std::string hash = trained_hash(12);
  EXPECT_FALSE(fs::exists(folder_ / "run/units"));
  fs::rename(folder_ / "run", folder_ / "plain");
  ASSERT_EQ(troupe(with_units("--set parallel.expert=3 --set parallel.data=2")), 0) << output_;
  EXPECT_EQ(trained_hash(12), hash);
  const std::string step_5 = read_file(units(5));
  fs::rename(folder_ / "run", folder_ / "many");

  ASSERT_EQ(troupe(with_units("--set parallel.expert=1 --set parallel.data=1 "
                              "--set parallel.pipeline=2 --kill router@5:backward")), 0) << output_;

  EXPECT_EQ(trained_hash(12), hash);
  EXPECT_EQ(read_file(units(5)), step_5);
}

TEST_F(UnitHashes, AFlippedBitIsNamed) {
  const std::pair<const char*, const char*> flips[] = {
      {"optimizer_shard@3:begin", "weights lm_head.weight, block 0: "},
      {"router@3:forward", "message forward, micro-batch 0, layer 1, to expert "},
      {"expert_shard@3:backward", "message backward, micro-batch 0, layer 2, from expert "},
      {"optimizer_shard@3:prepare", "gradient sum lm_head.weight, block 0: "}};
  for (const auto& [flip, text] : flips) {
    fs::remove_all(folder_ / "run");
    ASSERT_EQ(troupe(with_units("--set train.steps=4 --set train.verify_state=false --set parallel.data=1 --flip " +
                                std::string(flip))), 0) << output_;
    EXPECT_THAT(output_, HasSubstr("flip ")) << "its witness";

    EXPECT_EQ(troupe("replay run --step 2"), 0) << output_;
    EXPECT_EQ(troupe("replay run --step 4"), 1) << flip;
    EXPECT_THAT(output_, AllOf(HasSubstr(same_units(2)),
                               HasSubstr(std::string("step 3, first difference: ") + text),
                               HasSubstr(": recorded "), HasSubstr(", now ")));
  }
}

TEST_F(UnitHashes, ADamagedFileIsNamedAndTheRestIsCompared) {
  ASSERT_EQ(troupe(with_units()), 0) << output_;
  alter_byte(units(2), 1000);
  fs::remove(units(3));

  ASSERT_EQ(troupe("replay run --step 4"), 0) << output_;

  EXPECT_THAT(output_, AllOf(HasSubstr("units/step-2 is damaged; its units are not compared"),
                             HasSubstr("units/step-3: No such file"), HasSubstr(same_units(4))));
}

TEST_F(UnitHashes, AResumedRunGoesOnRecordingAndRetentionTakesOldOnes) {
  ASSERT_EQ(troupe(with_units("--set train.steps=5 --set checkpoint.keep=2 "
                              "--set train.optimizer.decay=CONSTANT")), 0) << output_;
  ASSERT_TRUE(fs::exists(units(1)));
  ASSERT_EQ(troupe("train --resume run --set train.steps=8"), 0) << output_;
  EXPECT_FALSE(fs::exists(units(5))) << "checkpoints 5 and 8 are kept";
  EXPECT_TRUE(fs::exists(units(6)));
  ASSERT_EQ(troupe("train --resume run --set train.steps=12"), 0) << output_;

  EXPECT_FALSE(fs::exists(units(8)));
  EXPECT_TRUE(fs::exists(units(9)) && fs::exists(units(12)));
  ASSERT_EQ(troupe("replay run --step 12"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("going on from state 8"), HasSubstr(same_units(12))));
}

}  // namespace
}  // namespace troupe::tests
