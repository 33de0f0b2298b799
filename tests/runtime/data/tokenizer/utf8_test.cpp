#include "runtime/data/tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace troupe::runtime {
namespace {

using namespace std::string_literals;

TEST(Utf8, EveryCodePointSurvivesAppendAndDecode) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);

    const Utf8Step step = decode_utf8(text, 0);

    ASSERT_TRUE(step.valid) << std::hex << static_cast<unsigned>(c);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.length, text.size());
  }
}

TEST(Utf8, OverlongSurrogateAndTooLargeAreInvalid) {
  for (const auto& text : {"\xC0\xAF"s, "\xE0\x80\xAF"s, "\xED\xA0\x80"s, "\xF4\x90\x80\x80"s,
                           "\xF8\x88\x80\x80\x80"s, "\x80"s, "\xC3"s}) {
    EXPECT_EQ(find_invalid_utf8("ok" + text), 2u);
  }
}

// The examples of the Unicode standard, tables 3-8 to 3-11: one U+FFFD for each maximal subpart.
TEST(Utf8, ReplacesMaximalSubparts) {
  const std::string r = "\xEF\xBF\xBD";

  EXPECT_EQ(to_valid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("a\xF0\x9F\x99"), "a" + r);
}

TEST(Utf8, ValidTextIsLeftAlone) {
  const std::string text = "a\0é日🙂"s;

  EXPECT_EQ(find_invalid_utf8(text), std::string::npos);
  EXPECT_EQ(to_valid_utf8(text), text);
}

}  // namespace
}  // namespace troupe::runtime
