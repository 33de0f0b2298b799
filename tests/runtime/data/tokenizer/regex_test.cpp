#include "runtime/data/tokenizer/regex.h"

#include <gmock/gmock.h>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/regex_dialect.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// The matches in brackets, and what lies between them.
std::string marked(std::string_view pattern, std::string_view text) {
  std::vector<TextPart> parts;
  Regex(pattern, "test").split(text, parts);
  std::string result;
  std::size_t covered = 0;
  for (const TextPart& part : parts) {
    EXPECT_EQ(part.begin, covered) << "parts leave no gap";
    covered = part.end;
    const std::string piece(text.substr(part.begin, part.end - part.begin));
    result += part.is_match ? "[" + piece + "]" : piece;
  }
  EXPECT_EQ(covered, text.size());
  return result;
}

TEST(Regex, SplitsIntoMatchesAndTheRest) {
  EXPECT_EQ(marked(R"(\p{N}{1,3})", "a1234b"), "a[123][4]b");
  EXPECT_EQ(marked(R"(\s+(?!\S)|\s+)", "a   b "), "a[  ][ ]b[ ]");
  EXPECT_EQ(marked("x", ""), "");
}

TEST(Regex, EmptyMatchesAreTakenOnceAndAdvanceByCharacters) {
  EXPECT_EQ(marked("é*", "aéb"), "[]a[é]b[]");
  EXPECT_EQ(marked("(?=日)", "a日日"), "a[]日[]日");
}

TEST(Regex, WhiteSpaceIsUnicodesProperty) {
  EXPECT_EQ(marked(R"(\s)", "a\u180Eb\u0085c\u3000d"), "a\u180Eb[\u0085]c[\u3000]d");
  EXPECT_EQ(marked(R"([^\S\n])", " \n\t"), "[ ]\n[\t]");
}

TEST(Regex, CategoriesHaveTheCodePointsOfUnicode16) {
  EXPECT_EQ(marked(R"(\p{L})", "\uA7CB"), "[\uA7CB]");                // Unicode 16.0
  EXPECT_EQ(marked(R"([\p{L}x]+)", "x\U00031350"), "[x\U00031350]");  // Unicode 15.0
  EXPECT_EQ(marked(R"(\P{S})", "\U0001F6DCa"), "\U0001F6DC[a]");      // Unicode 15.0
  EXPECT_EQ(marked(R"([^\p{N}])", "\U00011F50-"), "\U00011F50[-]");   // Unicode 15.0
}

TEST(Regex, LineAnchorsMatchAtLines) { EXPECT_EQ(marked("^b|a$", "a\nb\na"), "[a]\n[b]\n[a]"); }

TEST(RegexDialect, RewritesWhatPcreReadsDifferently) {
  EXPECT_EQ(to_pcre2_pattern(R"(\v{,3})", ""), R"(\x{b}{0,3})");
  EXPECT_EQ(to_pcre2_pattern(R"(\u3042[]a])", ""), R"(\x{3042}[\]a])");
  EXPECT_EQ(to_pcre2_pattern(R"({a})", ""), R"(\{a})");
}

class RefusedRegex : public testing::TestWithParam<const char*> {};

TEST_P(RefusedRegex, IsNamedWithItsPlace) {
  EXPECT_THAT([] { Regex(GetParam(), "pre_tokenizer.pattern"); },
              ThrowsMessage<TokenizerError>(HasSubstr("pre_tokenizer.pattern")));
}
INSTANTIATE_TEST_SUITE_P(Constructs, RefusedRegex,
                         testing::Values(R"(\w+)", R"(\bx)", R"(\h)", R"((a)\1)", "[a[b]]",
                                         "[a&&b]", "[[:alpha:]]", "a{1,2}+", "(?m)a", "(?<n>a)",
                                         "(*FAIL)", "\\", R"(\pL)", R"(\p{Nonsense})", R"(\xE9)",
                                         R"(\x{110000000})", "(", "[a", "a**b{", "\xFF"));

TEST(Regex, LongTextIsNoRunaway) {
  const std::string spaces(30'000'000, ' ');
  std::vector<TextPart> parts;

  Regex(R"(\s*[\r\n]+|\s+)", "test").split(spaces, parts);

  EXPECT_EQ(parts.size(), 1u);
}

TEST(Regex, RunawayPatternEndsInAnError) {
  std::vector<TextPart> parts;
  const Regex exponential("(?:a|aa)+$", "test"), deep("(?:(?:a|b)*c)?(?:a|b)*d", "test");

  EXPECT_THAT([&] { exponential.split(std::string(60, 'a') + "!", parts); },
              ThrowsMessage<TokenizerError>(HasSubstr("test: matching stopped")));
  EXPECT_THAT([&] { deep.split(std::string(3'000'000, 'a'), parts); },
              ThrowsMessage<TokenizerError>(HasSubstr("test: matching stopped")));
}

}  // namespace
}  // namespace troupe::runtime
