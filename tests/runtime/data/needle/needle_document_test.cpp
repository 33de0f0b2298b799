#include "runtime/data/needle/needle_document.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/bpe_trainer.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/data/tokenizer/tokenizer_json.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::string document(std::int64_t length, std::uint32_t number, int needles = 8,
                     std::uint64_t seed = 3) {
  const NeedleForm form;
  return make_needle_document({.form = form, .length = length, .needles = needles, .questions = 4,
                               .repeats = 0, .seed = seed, .number = number});
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

TEST(NeedleDocument, HasItsNumberOfWordsExactly) {
  for (const std::int64_t length : {6, 7, 8, 62, 254}) {
    for (std::uint32_t number = 0; number < 50; ++number) {
      EXPECT_EQ(std::ssize(words_of(document(length, number))), length);
    }
  }
}

TEST(NeedleDocument, EveryQuestionComesBehindItsNeedleWithTheRightAnswer) {
  std::size_t needles = 0, questions = 0;
  for (std::uint32_t number = 0; number < 200; ++number) {
    const auto words = words_of(document(62, number));
    std::map<std::string, std::string> told;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == ":") {
        EXPECT_TRUE(told.emplace(words.at(i + 1), words.at(i + 2)).second) << "a key twice";
        ++needles;
      } else if (words[i] == "?") {
        EXPECT_EQ(told[words.at(i + 1)], words.at(i + 2));
        ++questions;
      }
    }
    EXPECT_GE(told.size(), 1u);
  }
  EXPECT_GT(needles, 200u * 3);
  EXPECT_GT(questions, needles);
}

TEST(NeedleDocument, IsAFunctionOfSeedAndNumber) {
  EXPECT_EQ(document(62, 5), document(62, 5));
  EXPECT_NE(document(62, 5), document(62, 6));
  EXPECT_NE(document(62, 5), document(62, 5, 8, 4));
}

TEST(NeedleDocument, AShareIsARowOfDifferentWordsAgainAndAgain) {
  const NeedleForm form;
  int rows = 0;
  std::set<std::size_t> lengths;
  for (std::uint32_t number = 0; number < 400; ++number) {
    const auto words = words_of(make_needle_document({.form = form, .length = 62, .needles = 8,
                                                      .questions = 4, .repeats = 0.25, .seed = 3,
                                                      .number = number}));
    EXPECT_EQ(words.size(), 62u);
    if (std::ranges::count(words, ":") > 0) continue;
    ++rows;
    const std::size_t n = std::set<std::string>(words.begin(), words.end()).size();
    lengths.insert(n);
    for (std::size_t i = n; i < words.size(); ++i) EXPECT_EQ(words[i], words[i - n]);
  }
  EXPECT_NEAR(rows, 100, 35);  // 4 standard deviations
  EXPECT_EQ(*lengths.begin(), 4u);
  EXPECT_EQ(*lengths.rbegin(), 31u);
}

// So a document of L - 2 words is a sequence of L tokens with bos and eos. 265 special tokens and
// bytes, a merge for each of 17 consonants behind a space, 102 words and 2 marks.
TEST(NeedleDocument, WordsBecomeTokensOfATokenizerThatLearnsFromIt) {
  BpeTrainer trainer;
  for (std::uint32_t number = 0; number < 500; ++number) trainer.add(document(62, number));
  const auto tokenizer =
      Tokenizer::from_json(write_tokenizer_json(trainer.train(386)), "trained");

  EXPECT_EQ(tokenizer.vocabulary_size(), 386);
  for (std::uint32_t number = 500; number < 520; ++number) {
    EXPECT_EQ(tokenizer.encode(document(62, number), false).size(), 62u);
  }
}

TEST(NeedleDocument, RefusesAShortDocumentAndWrongNumbers) {
  EXPECT_THAT([] { document(5, 0); }, ThrowsMessage<DataError>(HasSubstr(
      "a document of 5 words, wanted room for a needle and its question")));
  EXPECT_THAT([] { document(62, 0, 35); },
              ThrowsMessage<DataError>("35 needles, wanted 1 to 34"));
}

}  // namespace
}  // namespace troupe::runtime
