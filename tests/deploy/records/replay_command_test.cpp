#include "deploy/records/replay_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ReplayCommand : public ProgramTest {};

TEST_F(ReplayCommand, StepsOutsideTheJournalAreNamed) {
  ASSERT_EQ(troupe(train("--set train.steps=3")), 0) << output_;

  for (const char* step : {"0", "4", "18446744073709551615"}) {
    EXPECT_EQ(troupe(std::string("replay run --step ") + step), 1);
    EXPECT_THAT(output_, HasSubstr("run has committed 3 steps, wanted one of them"));
  }
  EXPECT_EQ(troupe("replay run --step -1"), 2);
  EXPECT_EQ(troupe("replay run"), 2);
  EXPECT_EQ(troupe("replay nosuch --step 1"), 1);
  EXPECT_THAT(output_, HasSubstr("nosuch holds no run"));
}

// Without a recorded hash the record is what is compared, and the checkpoint's hash where there is
// one. That of step 1 is always written: no other is under way.
TEST_F(ReplayCommand, HashesThatWereNotRecordedAreSaidSo) {
  ASSERT_EQ(troupe(train("--set train.hash_every=0 --set checkpoint.every=1 "
                         "--set checkpoint.keep=100")), 0) << output_;
  for (int step = 2; step <= 12; ++step) {
    fs::remove_all(folder_ / ("run/checkpoints/step-" + std::to_string(step)));
  }

  ASSERT_EQ(troupe("replay run --step 3"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("step 2  its record: the recorded one\nstep 3  hash "),
                             HasSubstr(": none was recorded; its record is the recorded one\n")));

  ASSERT_EQ(troupe("replay run --step 1"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("step 1  hash "), HasSubstr(": the recorded one\n"),
                             Not(HasSubstr("none was recorded"))));
}

// What ends a document is named beside the tokenizer: the run folder's copy must have it too.
TEST_F(ReplayCommand, ATokenizerWithAnotherEosIsTheSameInTheRunFolder) {
  ASSERT_EQ(troupe("tokenizer train --text text.txt --vocab-size 270 --out tok"), 0) << output_;
  std::ofstream(folder_ / "tok/tokenizer_config.json") << R"({"eos_token": "<\uff5cUser\uff5c>"})";
  ASSERT_EQ(troupe(train("--set data.tokenizer.file=tok/tokenizer.json --set train.steps=60 "
                         "--set data.seq_len=64 --set checkpoint.every=1000")), 0) << output_;

  EXPECT_EQ(troupe("replay run --step 60"), 0) << output_;
  EXPECT_THAT(read_file(folder_ / "run/model/tokenizer_config.json"), HasSubstr("<\uff5cUser"));
  fs::remove(folder_ / "run/tokenizer_config.json");
  EXPECT_EQ(troupe("replay run --step 60"), 1) << "documents end in it";
}

TEST_F(ReplayCommand, ADamagedCheckpointIsPassedOver) {
  train_in_parts();
  alter_byte(folder_ / "run/checkpoints/step-10/blocks-0", 4321);

  ASSERT_EQ(troupe("replay run --step 12"), 0) << output_;

  EXPECT_THAT(output_,
              AllOf(HasSubstr("step-10/blocks-0 is damaged"),
                    HasSubstr("going on from state 5; 7 committed steps are done again"),
                    HasSubstr("step 12  hash " + trained_hash(12) + ": the recorded one")));
}

}  // namespace
}  // namespace troupe::tests
