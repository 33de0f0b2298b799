#include "runtime/data/needle/needle.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/bpe_trainer.h"
#include "runtime/data/tokenizer/tokenizer_json.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Tokens = std::vector<std::int32_t>;

/// With a token for each word of needles and hay, or with bytes alone.
Tokenizer tokenizer_of(bool has_words) {
  BpeTrainer trainer;
  std::string text = " : ?";
  for (const auto* words : {&needle_keys(), &needle_values(), &hay_words()}) {
    for (const std::string& word : *words) text += " " + word;
  }
  trainer.add(text);
  return Tokenizer::from_json(write_tokenizer_json(trainer.train(has_words ? 386 : 265)), "test");
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

class Needle : public testing::Test {
 protected:
  std::vector<NeedlePrompt> prompts(std::int64_t length, double depth, int needles, int questions,
                                    std::uint64_t seed = 7, std::uint32_t trial = 0) const {
    return make_needle_prompts({.tokenizer = tokenizer_, .form = form_, .text = text_,
                                .length = length, .depth = depth, .needles = needles,
                                .questions = questions, .candidates = 8, .seed = seed,
                                .trial = trial});
  }
  NeedlePrompt prompt(std::int64_t length, double depth, int needles = 1, std::uint64_t seed = 7,
                      std::uint32_t trial = 0) const {
    return prompts(length, depth, needles, 1, seed, trial).front();
  }
  std::vector<std::string> words(const NeedlePrompt& prompt) const {
    return words_of(tokenizer_.decode_without_special(prompt.tokens));
  }

  const Tokenizer tokenizer_ = tokenizer_of(true);
  NeedleForm form_;
  Tokens text_;
};

TEST_F(Needle, APromptAndItsValueHaveTheLengthExactly) {
  const Tokenizer bytes = tokenizer_of(false);
  for (const Tokenizer* tokenizer : {&tokenizer_, &bytes}) {
    for (const std::int64_t length : {65, 100, 257}) {
      for (const double depth : {0.0, 33.3, 50.0, 99.0, 100.0}) {
        const auto found = make_needle_prompts(
            {.tokenizer = *tokenizer, .form = form_, .text = text_, .length = length,
             .depth = depth, .needles = 3, .questions = 3, .candidates = 8, .seed = 7,
             .trial = 1});

        for (const NeedlePrompt& each : found) {
          EXPECT_EQ(std::ssize(each.tokens) + std::ssize(each.candidates[0]), length);
        }
      }
    }
  }
}

// bos, 60 tokens of which the needle is 3, then "? key" and the value.
TEST_F(Needle, TheNeedleStandsAtItsDepth) {
  EXPECT_EQ(prompt(64, 0).needle_at, 1);
  EXPECT_EQ(prompt(64, 25).needle_at, 1 + 14);
  EXPECT_EQ(prompt(64, 50).needle_at, 1 + 29);
  EXPECT_EQ(prompt(64, 100).needle_at, 1 + 57);
  for (const int needles : {2, 8, 19}) {
    EXPECT_EQ(prompt(64, 0, needles).needle_at, 1);
    EXPECT_EQ(prompt(64, 100, needles).needle_at, 1 + 57);
  }
}

TEST_F(Needle, TheQuestionAsksForWhatTheNeedleSays) {
  for (std::uint32_t trial = 0; trial < 20; ++trial) {
    const NeedlePrompt found = prompt(64, 40, 5, 7, trial);

    const auto all = words(found);  // one a token, but for bos
    const auto at = static_cast<std::size_t>(found.needle_at) - 1;
    EXPECT_EQ(all[at], ":");
    EXPECT_EQ(all[all.size() - 2], "?");
    EXPECT_EQ(all.back(), all[at + 1]);
    EXPECT_EQ(tokenizer_.decode(found.candidates[0]), " " + all[at + 2]);
  }
}

TEST_F(Needle, KeysAndValuesOfAHaystackAreAllDifferent) {
  const auto all = words(prompt(128, 60, 20));

  std::set<std::string> keys, values;
  for (std::size_t i = 0; i + 2 < all.size(); ++i) {
    if (all[i] != ":") continue;
    keys.insert(all[i + 1]);
    values.insert(all[i + 2]);
  }
  EXPECT_EQ(keys.size(), 20u);
  EXPECT_EQ(values.size(), 20u);
  EXPECT_EQ(std::ranges::count(all, all.back()), 2);  // in its needle and in the question
}

TEST_F(Needle, CandidatesAreDifferentAndTheHaystacksOwnComeFirst) {
  const NeedlePrompt found = prompt(64, 50, 3);

  EXPECT_EQ(std::set<Tokens>(found.candidates.begin(), found.candidates.end()).size(), 8u);
  const auto all = words(found);
  for (std::size_t i = 0; i < 8; ++i) {
    const std::string value = tokenizer_.decode(found.candidates[i]).substr(1);
    EXPECT_EQ(std::ranges::count(all, value), i < 3 ? 1 : 0) << value;
  }
}

TEST_F(Needle, SeveralQuestionsAskTheSameHayForOneNeedleEach) {
  const auto found = prompts(96, 40, 6, 4);

  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].tokens, prompt(96, 40, 6).tokens);
  EXPECT_EQ(found[0].candidates, prompt(96, 40, 6).candidates);
  std::set<std::string> keys;
  for (const NeedlePrompt& each : found) {
    EXPECT_TRUE(std::equal(each.tokens.begin(), each.tokens.end() - 1, found[0].tokens.begin()));
    const auto all = words(each);
    keys.insert(all.back());
    const auto key = std::ranges::find(all, all.back());  // in its needle
    EXPECT_EQ(*(key - 1), ":");
    EXPECT_EQ(tokenizer_.decode(each.candidates[0]), " " + *(key + 1));
  }
  EXPECT_EQ(keys.size(), 4u);
}

// A wrong value of the same hay is what is confused with the right one.
TEST_F(Needle, CandidatesOfEveryQuestionAreTheHaysValuesFirst) {
  std::set<Tokens> first;
  for (const NeedlePrompt& each : prompts(96, 40, 5, 5)) {
    const std::set<Tokens> own(each.candidates.begin(), each.candidates.begin() + 5);
    if (first.empty()) first = own;
    EXPECT_EQ(own, first);
    EXPECT_EQ(std::set<Tokens>(each.candidates.begin(), each.candidates.end()).size(), 8u);
  }
}

TEST_F(Needle, APromptIsAFunctionOfItsArguments) {
  const Tokens tokens = prompt(64, 50, 2).tokens;

  EXPECT_EQ(prompt(64, 50, 2).tokens, tokens);
  EXPECT_NE(prompt(64, 50, 2, 8).tokens, tokens);
  EXPECT_NE(prompt(64, 50, 2, 7, 1).tokens, tokens);
  EXPECT_NE(words(prompt(64, 51, 2)).back(), words(prompt(64, 50, 2)).back());
}

TEST_F(Needle, HayOfATextIsAPieceOfItBeginningAnewBehindItsEnd) {
  text_.resize(40);
  for (std::int32_t i = 0; i < 40; ++i) text_[static_cast<std::size_t>(i)] = 20 + i;

  NeedlePrompt found = prompt(100, 50);

  const auto at = found.tokens.begin() + found.needle_at;
  found.tokens.erase(at, at + 3);
  ASSERT_EQ(found.tokens.size(), 96u);  // bos, hay, question
  for (std::size_t i = 1; i + 3 < found.tokens.size(); ++i) {
    EXPECT_EQ(found.tokens[i + 1], 20 + (found.tokens[i] - 20 + 1) % 40) << i;
  }
}

TEST_F(Needle, FormsAreFilledIn) {
  form_ = {.needle = " {value} {key} {value}", .question = " {key} {key}"};

  const auto all = words(prompt(32, 0));

  EXPECT_EQ(all[0], all[2]);
  EXPECT_EQ(all[1], all.back());
  EXPECT_EQ(all[1], all[all.size() - 2]);
}

TEST_F(Needle, WhatDoesNotFitIsNamed) {
  EXPECT_EQ(prompt(7, 50).tokens.size(), 6u);
  EXPECT_THAT([&] { prompt(6, 50); }, ThrowsMessage<DataError>(HasSubstr(
      "length 6, wanted at least 7 for 1 needles and a question")));
  EXPECT_THAT([&] { prompt(10, 50, 2); prompt(13, 50, 3); },
              ThrowsMessage<DataError>(HasSubstr("needles of 3 tokens have no room left: ")));
  EXPECT_THAT([&] { prompt(64, 101); }, ThrowsMessage<DataError>(HasSubstr("wanted 0 to 100")));
  EXPECT_THAT([&] { prompt(64, 50, 0); }, ThrowsMessage<DataError>("0 needles, wanted 1 to 34"));
  EXPECT_THAT([&] { prompts(64, 50, 2, 3); },
              ThrowsMessage<DataError>("3 questions, wanted 1 to 2"));
  form_.question = "?";
  EXPECT_THAT([&] { prompt(64, 50); }, ThrowsMessage<DataError>(HasSubstr(
      "the form of a question is \"?\", wanted {key} in it")));
}

}  // namespace
}  // namespace troupe::runtime
