#include "runtime/data/tokenizer/byte_level.h"

#include <gtest/gtest.h>

#include <set>

namespace troupe::runtime {
namespace {

TEST(ByteLevel, SymbolsOfAllBytesDifferAndLeadBack) {
  std::set<char32_t> symbols;
  std::string bytes;
  for (int b = 0; b < 256; ++b) {
    symbols.insert(byte_to_symbol(static_cast<std::uint8_t>(b)));
    bytes.push_back(static_cast<char>(b));
  }

  EXPECT_EQ(symbols.size(), 256u);
  EXPECT_EQ(symbols_to_bytes(bytes_to_symbols(bytes)), bytes);
}

TEST(ByteLevel, SpaceAndLineEndAreWhatVocabulariesWrite) {
  EXPECT_EQ(bytes_to_symbols(" a\n"), "ĠaĊ");
  EXPECT_EQ(bytes_to_symbols("é"), "Ã©");
}

TEST(ByteLevel, OtherCharactersAreNoBytes) {
  EXPECT_EQ(symbols_to_bytes("a b"), std::nullopt);
  EXPECT_EQ(symbols_to_bytes("<｜User｜>"), std::nullopt);
  EXPECT_EQ(symbols_to_bytes("\xFF"), std::nullopt);
}

}  // namespace
}  // namespace troupe::runtime
