#include "runtime/data/tokenizer/word_table.h"

#include <gtest/gtest.h>

#include <string>

namespace troupe::runtime {
namespace {

TEST(WordTable, NumbersWordsInTheOrderTheyCame) {
  WordTable table;

  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(table.add("word " + std::to_string(i)), static_cast<std::uint32_t>(i));
  }
  for (int i = 0; i < 5000; ++i) {
    const std::string word = "word " + std::to_string(i);
    EXPECT_EQ(table.add(word), static_cast<std::uint32_t>(i));
    EXPECT_EQ(table.find(word), static_cast<std::uint32_t>(i));
    EXPECT_EQ(table.word(static_cast<std::uint32_t>(i)), word);
  }
  EXPECT_EQ(table.size(), 5000u);
}

TEST(WordTable, UnknownWordHasNoNumber) {
  WordTable table;
  EXPECT_EQ(table.find("a"), WordTable::none);
  table.add("a");

  EXPECT_EQ(table.find("b"), WordTable::none);
  EXPECT_EQ(table.find(""), WordTable::none);
}

TEST(WordTable, EmptyWordAndZeroBytesAreWords) {
  WordTable table;
  const std::string zeros("a\0b", 3);

  EXPECT_EQ(table.add(""), 0u);
  EXPECT_EQ(table.add(zeros), 1u);
  EXPECT_EQ(table.find("a"), WordTable::none);
  EXPECT_EQ(table.word(1), zeros);
}

TEST(WordTable, ClearForgetsEverything) {
  WordTable table;
  for (int i = 0; i < 100; ++i) table.add(std::to_string(i));

  table.clear();

  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.find("7"), WordTable::none);
  EXPECT_EQ(table.add("7"), 0u);
}

}  // namespace
}  // namespace troupe::runtime
