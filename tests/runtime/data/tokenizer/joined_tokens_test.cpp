#include "runtime/data/tokenizer/joined_tokens.h"

#include <gmock/gmock.h>

#include "runtime/data/tokenizer/bpe_trainer.h"
#include "runtime/data/tokenizer/tokenizer_defaults.h"
#include "runtime/data/tokenizer/tokenizer_json.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Ids = std::vector<std::int32_t>;

/// A tokenizer with ".\n", "\"\n\n", "+\r\n" and "\n\n" among its tokens.
Tokenizer small_tokenizer() {
  BpeTrainer trainer;
  for (int i = 0; i < 9; ++i) trainer.add("a.\nb.\nc\n\nd\"\n\ne\"\n\nx+\r\ny+\r\n");
  return Tokenizer::from_json(write_tokenizer_json(trainer.train(400)), "small");
}

Ids parts(const Tokenizer& tokenizer, const JoinedTokens& joined, const std::string& token) {
  const auto ids = tokenizer.encode(token, false);
  EXPECT_EQ(ids.size(), 1u) << token << " is a token";
  const auto found = joined.parts(ids.at(0));
  return {found.begin(), found.end()};
}

TEST(JoinedTokens, AreTakenApartAtTheFirstLineBreak) {
  const Tokenizer tokenizer = small_tokenizer();
  const JoinedTokens joined(tokenizer);

  EXPECT_EQ(parts(tokenizer, joined, ".\n"),
            (Ids{tokenizer.encode(".", false)[0], tokenizer.encode("\n", false)[0]}));
  const Ids quote = parts(tokenizer, joined, "\"\n\n");
  ASSERT_EQ(quote.size(), 2u);
  EXPECT_EQ(tokenizer.token_bytes(quote[1]), "\n\n");
  EXPECT_EQ(tokenizer.token_bytes(parts(tokenizer, joined, "+\r\n").at(0)), "+") << "a symbol";
}

TEST(JoinedTokens, OthersStayWhole) {
  const Tokenizer tokenizer = small_tokenizer();
  const JoinedTokens joined(tokenizer);

  EXPECT_THAT(parts(tokenizer, joined, "\n\n"), IsEmpty());
  EXPECT_THAT(parts(tokenizer, joined, "."), IsEmpty());
  EXPECT_THAT(joined.parts(tokenizer.special().eos), IsEmpty());
  EXPECT_THAT(joined.parts(-1), IsEmpty());
  EXPECT_THAT(joined.parts(tokenizer.vocabulary_size()), IsEmpty());
  EXPECT_THAT(JoinedTokens().parts(0), IsEmpty());
}

TEST(JoinedTokens, SpellTheSameBytes) {
  const Tokenizer tokenizer = small_tokenizer();
  const JoinedTokens joined(tokenizer);
  int n = 0;

  for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    const auto found = joined.parts(id);
    if (found.empty()) continue;
    std::string bytes;
    for (const std::int32_t part : found) bytes += tokenizer.token_bytes(part);
    EXPECT_EQ(bytes, tokenizer.token_bytes(id));
    EXPECT_GE(found.size(), 2u);
    ++n;
  }
  EXPECT_GE(n, 4);
}

}  // namespace
}  // namespace troupe::runtime
