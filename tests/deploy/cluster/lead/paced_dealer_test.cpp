#include "deploy/cluster/lead/paced_dealer.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using deploy::PacedDealer;
using Shares = std::vector<int>;

/// Three data workers in processes of their own.
PacedDealer dealer_of_three() {
  config::Plan plan{};
  plan.data = plan.processes = 3;
  plan.pipeline = 1;
  return {plan, {.workers = {{{0, 1.0}}, {{1, 1.0}}, {{2, 1.0}}}, .experts = {0, 0, 0}}};
}

TEST(PacedDealer, DealsEquallyUntilSomebodyIsSlow) {
  PacedDealer dealer = dealer_of_three();
  EXPECT_EQ(dealer.shares(12), (Shares{4, 4, 4}));

  dealer.pace({1, 1, 4});
  EXPECT_EQ(dealer.shares(12), (Shares{6, 5, 1}));
  EXPECT_EQ(dealer.shares(6), (Shares{3, 2, 1})) << "a step of another size";

  dealer.pace({1, 1, 1});
  EXPECT_EQ(dealer.shares(12), (Shares{4, 4, 4}));
}

TEST(PacedDealer, NothingIsKnownOfProcessesThatAreNotSaid) {
  PacedDealer dealer = dealer_of_three();

  dealer.pace({4});

  EXPECT_EQ(dealer.shares(12), (Shares{1, 6, 5}));
}

TEST(DescribeShares, NamesWhoTakesMoreOrLess) {
  EXPECT_EQ(deploy::describe_shares({3, 3, 3}, {4, 3, 2}),
            "data worker 0 takes 4 micro-batches for 3, data worker 2 takes 2 for 3");
  EXPECT_EQ(deploy::describe_shares({3, 3}, {3, 3}), "");
}

TEST(DescribeShares, OfManyNamesAFew) {
  const std::string text = deploy::describe_shares(Shares(20, 3), Shares(20, 4));

  EXPECT_NE(text.find("data worker 7 takes 4 for 3, and 12 more have others"), std::string::npos) << text;
}

}  // namespace
}  // namespace troupe::tests
