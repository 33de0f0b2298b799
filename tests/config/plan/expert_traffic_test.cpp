#include "config/plan/expert_traffic.h"

#include <gtest/gtest.h>

#include "config/parameters.h"
#include "config/plan/cost_model.h"
#include "tests/config/plan/planned.h"

namespace troupe::config {
namespace {

/// Experts over two processes, one layer of a token: what the worker of process 0 exchanges.
double bytes_of(const std::vector<std::string>& settings) {
  std::vector<std::string> all{"parallel.pipeline=1", "parallel.data=2", "parallel.expert=2",
                               "cluster.nodes=2"};
  all.insert(all.end(), settings.begin(), settings.end());
  const Planned p(all);
  return ExpertTraffic(p.args, p.plan).bytes(0, 0, 0) / p.model.model.hidden_size();
}

TEST(ChanceOfNone, IsThatOfDrawingWithoutPuttingBack) {
  const Planned p(
      {"model.with.expert_groups=1", "model.with.top_groups=1", "model.with.experts_per_token=2"});

  EXPECT_NEAR(chance_of_none(p.model.model, {8}), 8.0 / 16 * 7 / 15, 1e-12);
  EXPECT_EQ(chance_of_none(p.model.model, {16}), 0);
  EXPECT_EQ(chance_of_none(p.model.model, {0}), 1);
}

// Report, 3.2.2: without a limit 8 of 256 experts on 8 nodes meet 5.29 nodes; notice the limit.
TEST(ChanceOfNone, LimitsTheNodesOfATokenToItsGroups) {
  const auto nodes = [](const std::string& top_groups) {
    const Planned p(
        {"model.file=config/models/deepseek_v3.textproto", "model.with.top_groups=" + top_groups});
    return 8 * (1 - chance_of_none(p.model.model, {32, 0, 0, 0, 0, 0, 0, 0}));
  };

  EXPECT_NEAR(nodes("8"), 5.2947, 1e-4);
  EXPECT_LT(nodes("4"), 4);
  EXPECT_GT(nodes("4"), 3.5);
}

// Two groups, one in each process, a token in one of them: half of the tokens go there and a sum
// back.
TEST(ExpertTraffic, IsATokenThereAndASumBackOfAWholeGroup) {
  const std::vector<std::string> groups{"model.with.expert_groups=2", "model.with.top_groups=1"};
  const auto with = [&](const std::string& precision) {
    auto settings = groups;
    settings.push_back("train.precision=" + precision);
    return bytes_of(settings);
  };

  EXPECT_NEAR(with("FP32"), 2 * 0.5 * (4 + 4), 1e-9);
  EXPECT_NEAR(with("BF16"), 2 * 0.5 * (2 + 2), 1e-9);
  EXPECT_NEAR(with("FP8"), 2 * 0.5 * (1 + 4.0 / 128 + 2), 0.05);
}

// A group that both have experts of: its rows come back one by one.
TEST(ExpertTraffic, IsARowBackForEachExpertOfASharedGroup) {
  const double bytes = bytes_of(
      {"model.with.expert_groups=1", "model.with.top_groups=1", "model.with.experts_per_token=2"});

  EXPECT_NEAR(bytes, 2 * ((1 - 8.0 / 16 * 7 / 15) * 4 + 1 * 4), 1e-9);
}

TEST(WireBytes, OfExpertsAreNoneWhereEachWorkerHasAllOfThem) {
  const Planned p({"parallel.pipeline=1", "parallel.data=2", "parallel.expert_replicas=2", "cluster.nodes=2"});

  EXPECT_EQ(p.plan.expert, 1);
  EXPECT_EQ(wire_bytes(p.args, p.plan).experts, 0);
  EXPECT_GT(wire_bytes(p.args, p.plan).state, 12.0 * static_cast<double>(count_parameters(p.model.model).routed));
}

TEST(WireBytes, OfExpertsAreThoseOfEveryTokenAndMoeLayer) {
  const Planned p({"parallel.pipeline=1", "parallel.data=2", "parallel.expert=2", "cluster.nodes=2",
                   "model.with.mtp_layers=0"});
  const double one = ExpertTraffic(p.args, p.plan).bytes(0, 0, 0);

  EXPECT_GT(one, 0);
  EXPECT_NEAR(wire_bytes(p.args, p.plan).experts, 8 * 2 * 64 * 7 * one, 1);
}

}  // namespace
}  // namespace troupe::config
