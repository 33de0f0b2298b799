#include "runtime/data/tokenizer/pair_table.h"

#include <gtest/gtest.h>

namespace troupe::runtime {
namespace {

TEST(PairTable, NumbersPairsInTheOrderTheyCame) {
  PairTable table;
  EXPECT_EQ(table.find(token_pair(0, 0)), PairTable::none);

  for (std::int32_t i = 0; i < 5000; ++i) {
    EXPECT_EQ(table.add(token_pair(i % 70, i)), static_cast<std::uint32_t>(i));
  }
  for (std::int32_t i = 0; i < 5000; ++i) {
    EXPECT_EQ(table.add(token_pair(i % 70, i)), static_cast<std::uint32_t>(i));
    EXPECT_EQ(table.find(token_pair(i % 70, i)), static_cast<std::uint32_t>(i));
    EXPECT_EQ(table.find(token_pair(71, i)), PairTable::none);
  }
  EXPECT_EQ(table.size(), 5000u);
}

TEST(PairTable, SidesAreToldApart) {
  PairTable table;
  table.add(token_pair(1, 2));

  EXPECT_EQ(table.find(token_pair(2, 1)), PairTable::none);
  EXPECT_LT(token_pair(1, 0x7FFFFFFF), token_pair(2, 0));
}

}  // namespace
}  // namespace troupe::runtime
