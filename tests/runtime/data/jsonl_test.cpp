#include "runtime/data/jsonl.h"

#include <gmock/gmock.h>

#include "kernels/random.h"
#include "runtime/data/error.h"
#include "runtime/data/tokenizer/bpe_trainer.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Tokenizer small_tokenizer() {
  BpeTrainer trainer;
  return Tokenizer::from_json(write_tokenizer_json(trainer.train(265)), "small");
}

TEST(Jsonl, ReadsTheThreeForms) {
  const auto documents = read_jsonl(
      "{\"text\": \"é\", \"source\": 7}\r\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", "
      "\"content\": \"Yes\"}]}\n"
      "{\"prompt\": \"a\", \"completion\": \"bc\"}",
      "x.jsonl");

  ASSERT_EQ(documents.size(), 3u);
  EXPECT_EQ(documents[0].turns[0].text, "é");
  EXPECT_EQ(documents[0].text_bytes(), 2u);
  EXPECT_EQ(documents[1].turns[1].role, Role::assistant);
  EXPECT_EQ(documents[1].text_bytes(), 5u);
  EXPECT_EQ(documents[2].turns[1].role, Role::completion);
}

TEST(Jsonl, ErrorsNameFileAndLine) {
  const auto error_of = [](const std::string& line) {
    try {
      read_jsonl("{\"text\": \"fine\"}\n\n" + line, "x.jsonl");
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };

  EXPECT_THAT(error_of("{\"text\": "), HasSubstr("x.jsonl:3: not JSON"));
  EXPECT_THAT(error_of("[1]"), HasSubstr("x.jsonl:3: not a JSON object"));
  EXPECT_THAT(error_of("{\"txt\": \"a\"}"), HasSubstr("x.jsonl:3: one of \"text\""));
  EXPECT_THAT(error_of(R"({"text": "a", "prompt": "b"})"), HasSubstr("one of"));
  EXPECT_THAT(error_of(R"({"text": 5})"), HasSubstr("\"text\" is number; a string is wanted"));
  EXPECT_THAT(error_of(R"({"prompt": "a"})"), HasSubstr("\"completion\" is missing"));
  EXPECT_THAT(error_of(R"({"messages": []})"), HasSubstr("\"messages\""));
  EXPECT_THAT(error_of(R"({"messages": [{"role": "tool", "content": "a"}]})"),
              HasSubstr("role \"tool\""));
  EXPECT_THAT(error_of(R"({"text": "\ud800"})"), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("{\"text\": \"\xFF\"}"), HasSubstr("not JSON"));
}

TEST(Jsonl, DamagedLinesNeverCrash) {
  const std::string whole = R"({"messages": [{"role": "user", "content": "a\u00e9"}], "n": [1e5]})";
  for (std::uint32_t i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    for (std::uint64_t k = 0; k < 3; ++k) {
      const auto draw = kernels::random_bits({2, kernels::Purpose::test, i, k});
      damaged[draw % damaged.size()] = static_cast<char>(draw >> 40);
    }
    try {
      read_jsonl(damaged, "x.jsonl");
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("x.jsonl:"));
    }
  }
  EXPECT_THROW(read_jsonl(std::string(1'000'000, '['), "x.jsonl"), DataError);
}

TEST(Document, ChatIsWrittenWithRolesAndEos) {
  const auto tokenizer = small_tokenizer();
  const Document chat{{{Role::system, "s"},
                       {Role::user, "u"},
                       {Role::assistant, "a"},
                       {Role::user, "v"},
                       {Role::assistant, "b"}}};

  const auto ids = encode_document(tokenizer, chat);

  EXPECT_EQ(
      tokenizer.decode(ids),
      "<｜System｜>s<｜User｜>u<｜Assistant｜>a<｜end▁of▁sentence｜><｜User｜>v<｜Assistant｜>b");
}

TEST(Document, SpecialTokensWrittenInItAreText) {
  const auto tokenizer = small_tokenizer();
  const Document document{{{Role::text, "<｜end▁of▁sentence｜>"}}};

  EXPECT_THAT(encode_document(tokenizer, document), testing::Not(testing::Contains(1)));
}

}  // namespace
}  // namespace troupe::runtime
