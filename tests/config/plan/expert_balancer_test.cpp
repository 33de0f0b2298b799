#include "config/plan/expert_balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::Pointwise;

// The example of EPLB's README: two layers of 12 experts.
const std::vector<double> first_layer{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const std::vector<double> second_layer{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

BalanceArgs published(const std::vector<double>& loads) {
  return {.loads = loads, .replicas = 16, .groups = 4, .nodes = 2, .devices = 8};
}

double largest_over_mean(const std::vector<double>& loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  return *std::ranges::max_element(loads) * static_cast<double>(loads.size()) / sum;
}

TEST(BalanceExperts, PlacesThePublishedExampleAsPublished) {
  EXPECT_THAT(balance_experts(published(first_layer)).expert_of_slot,
              ElementsAre(5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1));
  EXPECT_THAT(balance_experts(published(second_layer)).expert_of_slot,
              ElementsAre(7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1));
}

TEST(BalanceExperts, GivesTheDevicesOfTheExampleTheirLoads) {
  const BalanceArgs args = published(first_layer);
  const BalanceArgs second = published(second_layer);

  const auto loads = device_loads(args, balance_experts(args));

  EXPECT_THAT(loads,
              Pointwise(DoubleEq(), {121.5, 86.5, 125.0, 113.0, 147.5, 131.5, 156.0, 152.0}));
  EXPECT_NEAR(largest_over_mean(loads), 1.2081, 5e-5);
  EXPECT_NEAR(largest_over_mean(device_loads(second, balance_experts(second))), 1.2422, 5e-5);
}

// Groups that no number of nodes divides: everything may go anywhere.
TEST(BalanceExperts, BalancesBetterWhereGroupsNeedNotStayTogether) {
  for (const auto& [layer, wanted] : {std::pair{&first_layer, 1.0726}, {&second_layer, 1.1903}}) {
    BalanceArgs args = published(*layer);
    args.groups = 3;

    EXPECT_NEAR(largest_over_mean(device_loads(args, balance_experts(args))), wanted, 5e-5);
  }
}

TEST(BalanceExperts, KeepsAGroupOnOneNode) {
  const BalanceArgs args = published(first_layer);
  const ExpertPlacement placement = balance_experts(args);
  std::map<int, std::set<size_t>> nodes_of_group;
  for (size_t slot = 0; slot < 16; ++slot) {
    nodes_of_group[placement.expert_of_slot[slot] / 3].insert(slot / 8);
  }

  for (const auto& [group, nodes] : nodes_of_group) EXPECT_EQ(nodes.size(), 1u) << group;
}

// DeepSeek-V3's prefill: 256 experts and 32 more, on 32 devices of 4 nodes.
TEST(BalanceExperts, HoldsEveryExpertAndEvensOutRandomLoads) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> loads(256);
    for (double& load : loads) load = static_cast<double>(1 + random() % 1000);
    const BalanceArgs args{.loads = loads, .replicas = 288, .groups = 8, .nodes = 4, .devices = 32};

    const ExpertPlacement placement = balance_experts(args);

    ASSERT_EQ(placement.expert_of_slot.size(), 288u);
    for (int e = 0; e < 256; ++e) {
      const auto held = std::ranges::count(placement.expert_of_slot, e);
      ASSERT_GE(held, 1);
      ASSERT_EQ(held, placement.replicas_of_expert[static_cast<size_t>(e)]);
    }
    ExpertPlacement in_order{std::vector<int>(256), std::vector<int>(256, 1)};
    std::iota(in_order.expert_of_slot.begin(), in_order.expert_of_slot.end(), 0);
    EXPECT_LT(largest_over_mean(device_loads(args, placement)),
              largest_over_mean(device_loads(args, in_order)));
  }
}

TEST(BalanceExperts, KeepsTheOrderWhereThereIsNothingToBalance) {
  const std::vector<double> loads{3, 1, 2, 4};

  EXPECT_THAT(balance_experts({loads, 4, 1, 1, 4}).expert_of_slot, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(balance_experts({loads, 4, 4, 2, 2}).expert_of_slot, ElementsAre(3, 1, 0, 2));
}

TEST(BalanceExperts, NamesWhatDoesNotDivide) {
  const std::vector<double> loads(6, 1.0);
  const auto error = [&](int replicas, int groups, int nodes, int devices) {
    return error_of([&] { balance_experts({loads, replicas, groups, nodes, devices}); });
  };

  EXPECT_EQ(error(6, 4, 1, 1), "groups: found 4, wanted a divisor of 6 experts");
  EXPECT_EQ(error(6, 1, 2, 3), "devices: found 3, wanted a multiple of 2 nodes");
  EXPECT_EQ(error(7, 1, 1, 2),
            "replicas: found 7, wanted at least 6 experts, and a multiple of 2 devices");
  EXPECT_EQ(error(4, 1, 1, 2),
            "replicas: found 4, wanted at least 6 experts, and a multiple of 2 devices");
  EXPECT_EQ(error(6, 1, 0, 2), "nodes: found 0, wanted at least 1");
}

}  // namespace
}  // namespace troupe::config
