#include "runtime/data/tokenizer/bpe.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// Ids 0 to 255 are the bytes; `words` follow.
std::unordered_map<std::string, std::int32_t> vocabulary(const std::vector<std::string>& words) {
  std::unordered_map<std::string, std::int32_t> result;
  for (int b = 0; b < 256; ++b) result.emplace(std::string(1, static_cast<char>(b)), b);
  for (const std::string& word : words) result.emplace(word, static_cast<int>(result.size()));
  return result;
}

std::vector<std::int32_t> encode(const Bpe& bpe, std::string_view word) {
  std::vector<std::int32_t> ids;
  bpe.encode(word, ids);
  return ids;
}

TEST(Bpe, LowestRankGoesFirstAndOfEqualOnesTheLeftmost) {
  const Bpe bpe({.vocabulary = vocabulary({"bc", "ab", "aa"}),
                 .merges = {{'b', 'c', 256}, {'a', 'b', 257}, {'a', 'a', 258}},
                 .ignore_merges = false});

  EXPECT_THAT(encode(bpe, "abc"), ElementsAre('a', 256));
  EXPECT_THAT(encode(bpe, "aaa"), ElementsAre(258, 'a'));
  EXPECT_THAT(encode(bpe, "ab"), ElementsAre(257));
  EXPECT_THAT(encode(bpe, ""), ElementsAre());
}

TEST(Bpe, TokenThatNoMergeReachesIsTakenOnlyWhenMergesAreIgnored) {
  for (const bool ignore : {false, true}) {
    const Bpe bpe({.vocabulary = vocabulary({"xyz"}), .merges = {}, .ignore_merges = ignore});

    EXPECT_EQ(encode(bpe, "xyz").size(), ignore ? 1u : 3u);
  }
}

TEST(Bpe, SecondLookGivesTheSameIds) {
  const Bpe bpe(
      {.vocabulary = vocabulary({"ab"}), .merges = {{'a', 'b', 256}}, .ignore_merges = false});

  const auto first = encode(bpe, "xabx");

  EXPECT_EQ(encode(bpe, "xabx"), first);
  EXPECT_THAT(first, ElementsAre('x', 256, 'x'));
}

TEST(Bpe, LongWordIsMergedInTime) {
  const Bpe bpe({.vocabulary = vocabulary({"aa", "aaaa"}),
                 .merges = {{'a', 'a', 256}, {256, 256, 257}},
                 .ignore_merges = false});

  const auto ids = encode(bpe, std::string(1'000'003, 'a'));

  ASSERT_EQ(ids.size(), 250'002u);
  EXPECT_EQ(ids[0], 257);
  EXPECT_EQ(ids[250'000], 256);
  EXPECT_EQ(ids[250'001], 'a');
}

/// The rule of merging, word for word: the merge of lowest rank first, of equal ones the leftmost.
std::vector<std::int32_t> merge_slowly(const std::vector<BpeMerge>& merges, std::string_view word) {
  std::vector<std::int32_t> ids;
  for (const char c : word) ids.push_back(static_cast<std::uint8_t>(c));
  for (;;) {
    std::size_t best_rank = merges.size(), best = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank].left != ids[i] || merges[rank].right != ids[i + 1]) continue;
        best_rank = rank;
        best = i;
      }
    }
    if (best_rank == merges.size()) return ids;
    ids[best] = merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(Bpe, WordsOfAnyLengthFollowTheRule) {
  std::vector<BpeMerge> merges;
  std::vector<std::string> words, tokens{"a", "b", "c"};
  std::vector<std::int32_t> ids{'a', 'b', 'c'};
  const auto draw = [&](std::uint32_t stream, std::uint64_t position, std::uint64_t n) {
    return kernels::random_below(
        {.seed = 9, .purpose = kernels::Purpose::test, .stream = stream, .position = position}, n);
  };
  for (std::uint64_t i = 0; merges.size() < 60; ++i) {
    const std::size_t left = draw(0, 2 * i, tokens.size());
    const std::size_t right = draw(0, 2 * i + 1, tokens.size());
    const std::string joined = tokens[left] + tokens[right];
    if (std::count(tokens.begin(), tokens.end(), joined) > 0) continue;
    ids.push_back(256 + static_cast<std::int32_t>(words.size()));
    merges.push_back({ids[left], ids[right], ids.back()});
    words.push_back(joined);
    tokens.push_back(joined);
  }
  const Bpe bpe({.vocabulary = vocabulary(words), .merges = merges, .ignore_merges = false});

  for (std::uint32_t round = 1; round < 400; ++round) {
    std::string word;
    for (std::uint64_t i = 0; i < round % 100; ++i) {
      word.push_back(static_cast<char>('a' + draw(round, i, 3)));
    }
    EXPECT_EQ(encode(bpe, word), merge_slowly(merges, word)) << word;
  }
}

TEST(Bpe, MissingByteIsNamed) {
  auto incomplete = vocabulary({});
  incomplete.erase("A");

  EXPECT_THAT([&] { Bpe({.vocabulary = incomplete, .merges = {}, .ignore_merges = false}); },
              ThrowsMessage<TokenizerError>(HasSubstr("0x41")));
}

}  // namespace
}  // namespace troupe::runtime
