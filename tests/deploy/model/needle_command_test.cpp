// `troupe needle` as a user runs it: its files, its grid, and what it refuses.
#include "deploy/model/needle_command.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class NeedleCommand : public ProgramTest {
 protected:
  /// A run of 12 steps on documents that `needle write` made.
  void train_on_needles() {
    ASSERT_EQ(troupe("needle write --out needles.jsonl --documents 400 --length 16"), 0) << output_;
    EXPECT_EQ(output_, "needles.jsonl: 400 documents of 14 words\n");
    std::ofstream(folder_ / "run.textproto")
        << "model { file: \"" TROUPE_SOURCE_DIR
           "/config/models/needle_tiny.textproto\" with { layers: 2 dense_layers: 2 "
           "hidden_size: 32 max_positions: 64 } } "
           "data { jsonl: \"needles.jsonl\" tokenizer { train { vocab_size: 386 } } seq_len: 16 } "
           "train { steps: 12 micro_batch: 2 micro_batches: 2 }";
    ASSERT_EQ(troupe("train run.textproto --out run"), 0) << output_;
  }
};

TEST_F(NeedleCommand, AModelThatHasLearnedLittleIsNearChance) {
  train_on_needles();

  ASSERT_EQ(troupe("needle test --model run --lengths 16,64 --depths 0,100 --trials 40 "
                   "--candidates 4 --json --out grid.json"), 0) << output_;

  const json found = json::parse(output_);
  EXPECT_EQ(found, json::parse(read_file(folder_ / "grid.json")));
  EXPECT_EQ(found["state"], 12);
  EXPECT_EQ(found["trained_context"], 16);
  EXPECT_EQ(found["positions"], 64);
  ASSERT_EQ(found["cells"].size(), 4u);
  for (const json& cell : found["cells"]) {
    EXPECT_LT(cell["exact"], 0.3);
    EXPECT_NEAR(cell["chosen"], 0.25, 0.3);
    EXPECT_EQ(cell["trials"], 40);
  }
  ASSERT_EQ(troupe("needle test --model run/model --lengths 16,64 --depths 0,100 --trials 40 "
                   "--candidates 4 --json"), 0) << output_;
  EXPECT_EQ(json::parse(output_)["cells"], found["cells"]);
}

TEST_F(NeedleCommand, SeveralNeedlesOfAHaystackMayBeAskedFor) {
  train_on_needles();
  const std::string four = "needle test --model run --lengths 64 --depths 50 --trials 10 "
                           "--needles 4 --seed 3 ";

  ASSERT_EQ(troupe(four + "--questions 4 --json"), 0) << output_;

  const json found = json::parse(output_);
  EXPECT_EQ(found["questions"], 4);
  EXPECT_EQ(found["cells"][0]["trials"], 10);
  EXPECT_LE(found["cells"][0]["all"], found["cells"][0]["exact"]);
  ASSERT_EQ(troupe(four + "--questions 4"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("4 needles of which 4 are asked for"));
  EXPECT_THAT(output_, HasSubstr("all 4 values of a haystack are found, %"));
  EXPECT_EQ(troupe(four + "--questions 5"), 1);
  EXPECT_THAT(output_, HasSubstr("--questions: found 5, wanted at most the 4 of --needles"));
}

TEST_F(NeedleCommand, HayMayBeAText) {
  ASSERT_EQ(troupe(train()), 0) << output_;

  ASSERT_EQ(troupe("needle test --model run --lengths 128 --text text.txt --trials 2 "
                   "--needle-form ' The key of {key} is {value}.' "
                   "--question-form ' The key of {key} is'"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("run, state 12: trained on 16 positions, 1 needle, 8 candidates"));
  EXPECT_THAT(output_, HasSubstr("  depth \\ length     128\n             0 % "));
}

TEST_F(NeedleCommand, WhatCannotBeMeasuredIsNamed) {
  train_on_needles();

  EXPECT_EQ(troupe("needle test --model run --lengths 16,65"), 1);
  EXPECT_THAT(output_, HasSubstr("--lengths: found 65, wanted at most the model's 64 positions"));
  EXPECT_EQ(troupe("needle test --model run --lengths 6"), 1);
  EXPECT_THAT(output_, HasSubstr("length 6, wanted at least 7"));
  std::ofstream(folder_ / "empty.txt");
  EXPECT_EQ(troupe("needle test --model run --lengths 16 --text empty.txt"), 1);
  EXPECT_THAT(output_, HasSubstr("--text: found no text"));
  EXPECT_EQ(troupe("needle test --model run --lengths 16 --text nosuch.txt"), 1);
  EXPECT_THAT(output_, HasSubstr("nosuch.txt"));
  EXPECT_EQ(troupe("needle test --model run --lengths 16 --depths nan"), 2);
  EXPECT_EQ(troupe("needle test --model run --lengths 16 --out needles.jsonl"), 1);
  EXPECT_THAT(output_, HasSubstr("needles.jsonl: found something already"));
}

TEST_F(NeedleCommand, DocumentsAreWrittenWholeToANewFileOrNotAtAll) {
  EXPECT_EQ(troupe("needle write --out short.jsonl --documents 3 --length 7"), 1);
  EXPECT_THAT(output_, HasSubstr("a document of 5 words, wanted room for a needle"));
  EXPECT_FALSE(fs::exists(folder_ / "short.jsonl"));
  EXPECT_EQ(troupe("needle write --out text.txt --documents 3 --length 9"), 1);
  EXPECT_THAT(output_, HasSubstr("text.txt: found something already"));
  ASSERT_EQ(troupe("needle write --out a.jsonl --documents 3 --length 64 --seed 5"), 0);
  ASSERT_EQ(troupe("needle write --out b.jsonl --documents 3 --length 64 --seed 5"), 0);
  EXPECT_EQ(read_file(folder_ / "a.jsonl"), read_file(folder_ / "b.jsonl"));
}

}  // namespace
}  // namespace troupe::tests
