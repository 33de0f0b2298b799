#include "runtime/cluster/journal/orders.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;

class OrdersTest : public testing::Test {
 protected:
  OrdersTest() {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "run.textproto") << "\n";
  }
  ~OrdersTest() override { fs::remove_all(folder_); }

  const fs::path folder_ = own_folder();
};

TEST_F(OrdersTest, StayUntilTheyAreClosed) {
  EXPECT_TRUE(runtime::open_orders(folder_).empty());
  runtime::order_drain(folder_, "node-b.example");
  runtime::order_drain(folder_, "2");
  runtime::order_drain(folder_, "2");

  const auto orders = runtime::open_orders(folder_);
  ASSERT_EQ(orders.size(), 2u);
  EXPECT_EQ(orders[0].node, "2");
  EXPECT_EQ(orders[1].node, "node-b.example");
  runtime::close_order(orders[0]);
  runtime::close_order(orders[0]);

  ASSERT_EQ(runtime::open_orders(folder_).size(), 1u);
}

TEST_F(OrdersTest, WhatIsNoOrderIsLeftAlone) {
  fs::create_directories(folder_ / "orders");
  std::ofstream(folder_ / "orders" / "burn-2") << "";
  std::ofstream(folder_ / "orders" / "drain-") << "";

  EXPECT_TRUE(runtime::open_orders(folder_).empty());
  EXPECT_TRUE(fs::exists(folder_ / "orders" / "burn-2"));
}

TEST_F(OrdersTest, AreForARunAndForWhatMayBeANode) {
  for (const char* wrong : {"", "../2", "a b", "a/b"}) {
    EXPECT_THROW(runtime::order_drain(folder_, wrong), std::runtime_error) << wrong;
  }
  EXPECT_THROW(runtime::order_drain(folder_ / "none", "2"), std::runtime_error);
}

}  // namespace
}  // namespace troupe::tests
