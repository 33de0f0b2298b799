#include "runtime/data/tokenizer/bpe_trainer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/random.h"
#include "runtime/data/error.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/data/tokenizer/tokenizer_defaults.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::ThrowsMessage;

const auto n_fixed = static_cast<std::int32_t>(256 + default_special_tokens().size());

TrainedTokenizer train(std::initializer_list<const char*> texts, std::int32_t n_merges) {
  BpeTrainer trainer;
  for (const char* text : texts) trainer.add(text);
  return trainer.train(n_fixed + n_merges);
}

TEST(BpeTrainer, MergesTheMostFrequentPairFirst) {
  const auto trained = train({"hug hug pug pun bun hugs"}, 3);

  // "ug" occurs 4 times and "hug" 3 times; "un", " hug" and " p" twice each, "un" with the lower
  // ids.
  EXPECT_THAT(trained.merges, ElementsAre(Pair("u", "g"), Pair("h", "ug"), Pair("u", "n")));
}

TEST(BpeTrainer, EqualCountsGoToTheLowerIds) {
  const auto trained = train({"dc\nba\nab"}, 2);

  EXPECT_THAT(trained.merges, ElementsAre(Pair("a", "b"), Pair("b", "a")));
}

TEST(BpeTrainer, OrderOfTextsDoesNotMatter) {
  const auto one = train({"the cat sat", " on the mat", "\nthat hat"}, 12);
  const auto other = train({"\nthat hat", "the cat sat", " on the mat"}, 12);

  EXPECT_EQ(write_tokenizer_json(one), write_tokenizer_json(other));
}

TEST(BpeTrainer, StopsWhenNothingIsLeftToMerge) {
  EXPECT_THAT(train({"ab"}, 100).merges, ElementsAre(Pair("a", "b")));
}

TEST(BpeTrainer, NoTwoTokensHaveTheSameBytes) {
  const auto trained =
      train({"aaaaaaa aaaa aaab baab abab ababa\nbbaaab aabaab abba aaaaa ab"}, 200);
  const std::set<std::string> distinct(trained.tokens.begin(), trained.tokens.end());

  EXPECT_GT(trained.merges.size(), 15u);
  EXPECT_EQ(distinct.size(), trained.tokens.size());
}

/// Counts all pairs anew for each merge.
std::vector<std::pair<std::string, std::string>> train_slowly(std::vector<std::string> words,
                                                              int n_merges) {
  std::vector<std::vector<std::string>> split;
  for (const std::string& word : words) {
    split.emplace_back();
    for (const char c : word) split.back().emplace_back(1, c);
  }
  std::map<std::string, int> ids;  // the letters in order, then the merges
  for (char c = 'a'; c <= 'z'; ++c) ids.emplace(std::string(1, c), c);
  std::vector<std::pair<std::string, std::string>> merges;
  while (static_cast<int>(merges.size()) < n_merges) {
    std::map<std::pair<int, int>, int> counts;
    for (const auto& word : split) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{ids[word[i]], ids[word[i + 1]]}];
    }
    if (counts.empty()) break;
    const auto best = std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) {
      return std::pair(a.second, b.first) < std::pair(b.second, a.first);
    });
    const auto token = [&](int id) {
      return std::find_if(ids.begin(), ids.end(), [&](auto& e) { return e.second == id; })->first;
    };
    merges.emplace_back(token(best->first.first), token(best->first.second));
    ids.emplace(merges.back().first + merges.back().second, 1000 + static_cast<int>(merges.size()));
    for (auto& word : split) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (std::pair(word[i], word[i + 1]) != merges.back()) continue;
        word[i] += word[i + 1];
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return merges;
}

TEST(BpeTrainer, EqualsCountingAnewForEachMerge) {
  for (std::uint32_t round = 0; round < 30; ++round) {
    std::vector<std::string> words;
    std::string text;
    for (std::uint64_t i = 0; i < 80; ++i) {
      const std::uint64_t bits = kernels::random_bits(
          {.seed = 4, .purpose = kernels::Purpose::test, .stream = round, .position = i});
      words.emplace_back();
      for (std::uint64_t k = 0; k < 1 + bits % 9; ++k) {
        words.back().push_back(static_cast<char>('a' + (bits >> (8 + 4 * k)) % (2 + round % 5)));
      }
      text += words.back() + "\n";  // a line end and a word are two words
    }
    BpeTrainer trainer;
    trainer.add(text);

    EXPECT_EQ(trainer.train(n_fixed + 60).merges, train_slowly(words, 60)) << text;
  }
}

TEST(BpeTrainer, WrittenFileIsReadBackAndSpellsAnyText) {
  const auto trained = train({"the theme of the thesis", "über 日本 the 123 theses\r\n"}, 20);
  const auto tokenizer = Tokenizer::from_json(write_tokenizer_json(trained), "trained");
  const std::string text = "the über-thesis\n\n\t日本語 🙂 \"\\ 4567";

  const auto ids = tokenizer.encode(text, false);

  EXPECT_EQ(tokenizer.vocabulary_size(), n_fixed + 20);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(ids.size(), text.size());
  EXPECT_EQ(tokenizer.special().bos, 0);
  EXPECT_EQ(tokenizer.special().eos, 1);
  EXPECT_EQ(tokenizer.special().pad, 2);
  EXPECT_EQ(tokenizer.special().fim_hole, 3);
  EXPECT_GT(tokenizer.special().assistant, 0);
  EXPECT_GT(tokenizer.special().system, 0);
}

TEST(BpeTrainer, VocabularyWithoutRoomForTheBytesIsRefused) {
  EXPECT_THAT(
      [] { train({"a"}, -1); },
      ThrowsMessage<TokenizerError>(HasSubstr("vocab_size " + std::to_string(n_fixed - 1))));
}

TEST(TokenizerConfig, NamesTheSpecialTokens) {
  const auto config = nlohmann::json::parse(write_tokenizer_config_json());

  EXPECT_EQ(config["bos_token"], default_special_tokens()[0]);
  EXPECT_EQ(config["eos_token"], default_special_tokens()[1]);
  EXPECT_THAT(config["chat_template"].get<std::string>(), HasSubstr("<｜Assistant｜>"));
}

}  // namespace
}  // namespace troupe::runtime
