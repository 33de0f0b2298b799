#include "deploy/records/checkpoint_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class CheckpointCommand : public ProgramTest {
 protected:
  void SetUp() override { train_in_parts(); }

  fs::path checkpoint(int step) const {
    return folder_ / ("run/checkpoints/step-" + std::to_string(step));
  }
};

TEST_F(CheckpointCommand, LsShowsStepsAndHashes) {
  ASSERT_EQ(troupe("checkpoint ls run"), 0);

  for (const int step : {5, 10, 12}) EXPECT_THAT(output_, HasSubstr(trained_hash(step)));
  EXPECT_THAT(output_, AllOf(HasSubstr("known"), Not(HasSubstr("journal has"))));
  ASSERT_EQ(troupe("checkpoint ls run --json"), 0);
  EXPECT_THAT(output_, AllOf(HasSubstr("\"step\": 12"), HasSubstr("\"in_journal\": true")));
}

TEST_F(CheckpointCommand, VerifyComparesWithTheJournal) {
  ASSERT_EQ(troupe("checkpoint verify run"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("step 5  whole  hash " + trained_hash(5) + ": the journal's"));
  EXPECT_THAT(output_, HasSubstr("step 12  whole  hash " + trained_hash(12) + ": the journal's"));
}

TEST_F(CheckpointCommand, VerifyNamesEachDamagedFile) {
  alter_byte(checkpoint(5) / "blocks-0", 1000);
  fs::resize_file(checkpoint(10) / "blocks-0", 77);
  alter_byte(checkpoint(12) / "manifest", 20);

  EXPECT_EQ(troupe("checkpoint verify run"), 1);

  EXPECT_THAT(output_,
              AllOf(HasSubstr("step-5/blocks-0 is damaged: its hash is not the manifest's"),
                    HasSubstr("step-10/blocks-0 has 77 bytes, wanted "),
                    HasSubstr("step-12/manifest is damaged"),
                    HasSubstr("3 of 3 checkpoints cannot be used")));
  EXPECT_EQ(troupe("checkpoint ls run"), 0);
  EXPECT_THAT(output_, HasSubstr("12  run/checkpoints/step-12/manifest is damaged"));
}

TEST_F(CheckpointCommand, VerifyOfOneStepLooksAtNoOther) {
  alter_byte(checkpoint(5) / "blocks-0", 0);

  EXPECT_EQ(troupe("checkpoint verify run --step 10"), 0) << output_;
  EXPECT_EQ(troupe("checkpoint verify run --step 5"), 1);
  EXPECT_EQ(troupe("checkpoint verify run --step 7"), 1);
  EXPECT_THAT(output_, HasSubstr("no checkpoint of step 7, wanted one of 5, 10, 12"));
}

TEST_F(CheckpointCommand, VerifyFindsAStateThatTheJournalDoesNotKnow) {
  const fs::path journal = folder_ / "run/journal/00000003";  // of the third part
  fs::resize_file(journal, fs::file_size(journal) / 2);

  EXPECT_EQ(troupe("checkpoint verify run"), 1);

  EXPECT_THAT(output_, HasSubstr("step-12 is ahead of the journal"));
}

TEST_F(CheckpointCommand, ExportMakesTheModelThatTrainingMade) {
  fs::remove(folder_ / "text.txt");  // the data are not needed

  ASSERT_EQ(troupe("checkpoint export run --out model"), 0) << output_;

  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json",
                           "tokenizer_config.json"}) {
    EXPECT_EQ(read_file(folder_ / "model" / name), read_file(folder_ / "run/model" / name)) << name;
  }
  EXPECT_EQ(troupe("checkpoint export run --out model"), 1);
  EXPECT_THAT(output_, HasSubstr("wanted a name that is free"));
}

TEST_F(CheckpointCommand, ExportTakesAStepAndRefusesADamagedOne) {
  ASSERT_EQ(troupe("checkpoint export run --step 5 --out five"), 0) << output_;
  EXPECT_NE(read_file(folder_ / "five/model.safetensors"),
            read_file(folder_ / "run/model/model.safetensors"));
  alter_byte(checkpoint(10) / "blocks-0", 1000);

  EXPECT_EQ(troupe("checkpoint export run --step 10 --out ten"), 1);

  EXPECT_THAT(output_, HasSubstr("step-10/blocks-0 is damaged"));
  EXPECT_FALSE(fs::exists(folder_ / "ten"));
}

TEST_F(CheckpointCommand, ExportRefusesTheStateOfAnotherModel) {
  std::string model = read_file(folder_ / "run/model.textproto");
  const std::string layers = "\nlayers: 2";
  model.replace(model.find(layers), layers.size(), "\nlayers: 3");
  std::ofstream(folder_ / "run/model.textproto") << model;

  EXPECT_EQ(troupe("checkpoint export run --out model"), 1);

  EXPECT_THAT(output_, HasSubstr("parameters, model.textproto's model has"));
}

TEST_F(CheckpointCommand, AFolderWithoutARunIsNamed) {
  for (const char* arguments : {"ls nosuch", "verify nosuch", "export nosuch --out m"}) {
    EXPECT_EQ(troupe(std::string("checkpoint ") + arguments), 1);
    EXPECT_THAT(output_, HasSubstr("nosuch holds no run"));
  }
  fs::remove_all(folder_ / "run/checkpoints");
  EXPECT_EQ(troupe("checkpoint ls run"), 0);
  EXPECT_EQ(troupe("checkpoint verify run"), 1);
  EXPECT_THAT(output_, HasSubstr("holds no checkpoint"));
}

}  // namespace
}  // namespace troupe::tests
