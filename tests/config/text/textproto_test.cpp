#include "config/text/textproto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "config/proto/run.pb.h"
#include "config/text/errors.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string parse_error(const std::string& text) {
  return error_of([&] {
    config::Run run;
    parse_textproto("a.textproto", text, run);
  });
}

TEST(Textproto, NotesWhereFieldsStand) {
  config::Run run;

  const Origins origins = parse_textproto(
      "a.textproto", "data {\n  text: 'a'\n  text: 'b'\n}\ntrain { steps: 2 }", run);

  EXPECT_EQ(run.data().text(1), "b");
  EXPECT_EQ(origins.place("data.text[1]"), "a.textproto:3:3");
  EXPECT_EQ(origins.place("train.steps"), "a.textproto:5:9");
}

TEST(Textproto, GivesAnUnsetFieldThePlaceOfItsSection) {
  config::Run run;

  const Origins origins = parse_textproto("a.textproto", "\n train { seed: 1 }", run);

  EXPECT_EQ(origins.place("train.optimizer.lr"), "a.textproto:2:2");
  EXPECT_EQ(origins.place("data.text"), "a.textproto");
}

TEST(Textproto, RefusesAnUnknownFieldAndNamesTheNearest) {
  EXPECT_EQ(parse_error("train {\n  stepz: 1\n}"),
            "a.textproto:2:3: train.stepz: found an unknown field, wanted train.steps");
  EXPECT_EQ(parse_error("train { lr: 1 }"),
            "a.textproto:1:9: train.lr: found an unknown field, wanted train.optimizer.lr");
  EXPECT_EQ(parse_error("trian { steps: 1 }"),
            "a.textproto:1:1: trian: found an unknown field, wanted train");
}

TEST(Textproto, ListsTheEnumeratorsForAWrongOne) {
  EXPECT_EQ(parse_error("train {\n optimizer {\n  moments: F16\n  }\n}"),
            "a.textproto:3:12: train.optimizer.moments: found F16, wanted one of F32, BF16");
}

TEST(Textproto, SaysWhatAValueShouldBe) {
  EXPECT_EQ(parse_error("train { steps: abc }"),
            "a.textproto:1:16: train.steps: found abc, wanted an integer");
  EXPECT_EQ(parse_error("train { steps: 1.5 }"),
            "a.textproto:1:16: train.steps: found 1.5, wanted an integer");
  EXPECT_EQ(parse_error("train { seed: -1 }"),
            "a.textproto:1:15: train.seed: found -, wanted an integer of at least 0");
  EXPECT_EQ(parse_error("data { seq_len: 99999999999 }"),
            "a.textproto:1:17: data.seq_len: found 99999999999, "
            "wanted an integer of at most 2147483647");
  EXPECT_EQ(parse_error("data { text: 5 }"),
            "a.textproto:1:14: data.text: found 5, wanted a text in quotes");
  EXPECT_EQ(parse_error("model { file: \"a\" with { norm_topk_prob: maybe } }"),
            "a.textproto:1:42: model.with.norm_topk_prob: found maybe, wanted true or false");
}

TEST(Textproto, RefusesAFieldWrittenTwice) {
  EXPECT_THAT(
      parse_error("train { steps: 1 steps: 2 }"),
      testing::AllOf(StartsWith("a.textproto:1:18: train.steps: "), HasSubstr("multiple times")));
  EXPECT_THAT(
      parse_error("model { file: 'a' huggingface: 'b' }"),
      testing::AllOf(StartsWith("a.textproto:1:19: model.huggingface: "), HasSubstr("file")));
}

TEST(Textproto, RefusesBrokenSyntaxWithItsPlace) {
  EXPECT_THAT(parse_error("train { steps: 1"), StartsWith("a.textproto:1:"));
  EXPECT_THAT(parse_error("{"), StartsWith("a.textproto:1:1: "));
  EXPECT_THAT(parse_error("data { text: \"a }"), StartsWith("a.textproto:1:"));
}

TEST(Textproto, RefusesAMissingFileAndAFolder) {
  config::Run run;

  EXPECT_THAT(error_of([&] { parse_textproto(std::filesystem::path("no/such"), run); }),
              StartsWith("no/such: No such file"));
  EXPECT_THAT(error_of([&] { parse_textproto(std::filesystem::path("/tmp"), run); }),
              StartsWith("/tmp: "));
}

TEST(Textproto, SurvivesMutatedText) {
  const std::string text =
      "model { file: \"m\" } data { text: \"a\" tokenizer { train { vocab_size: 8 } } }\n"
      "train { steps: 3 optimizer { lr: 1e-3 moments: F32 } routing { gamma: -1 } }\n"
      "parallel { schedule: DUALPIPE } # end";
  std::mt19937 random(7);

  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string mutated = text;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      const size_t at = random() % mutated.size();
      switch (random() % 3) {
        case 0:
          mutated[at] = static_cast<char>(random());
          break;
        case 1:
          mutated.erase(at, 1 + random() % 4);
          break;
        default:
          mutated.insert(at, 1, "{}[]<>:;,\"'-#. \n"[random() % 16]);
      }
      if (mutated.empty()) mutated = "x";
    }
    const std::string error = parse_error(mutated);
    accepted += error.empty() ? 1 : 0;
    if (!error.empty()) {
      ASSERT_THAT(error, StartsWith("a.textproto:"));
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 19000);
}

}  // namespace
}  // namespace troupe::config
