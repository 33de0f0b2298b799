#include "runtime/data/bpe.h"

#include <gmock/gmock.h>

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

TEST(Bpe, MissingByteIsNamed) {
  auto incomplete = vocabulary({});
  incomplete.erase("A");

  EXPECT_THAT([&] { Bpe({.vocabulary = incomplete, .merges = {}, .ignore_merges = false}); },
              ThrowsMessage<TokenizerError>(HasSubstr("0x41")));
}

}  // namespace
}  // namespace troupe::runtime
