#include "config/plan/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "config/parameters.h"
#include "config/schedule/dealing.h"
#include "tests/config/plan/planned.h"

namespace troupe::config {
namespace {

constexpr double tokens = 8 * 2 * 64;  // of a step of the tiny run

double flops_of(const Planned& p) {
  double flops = 0;
  for (const StagePlan& stage : p.plan.stages) flops += stage.flops;
  return flops;
}

TEST(PredictStep, OfOneWorkerIsItsOperationsByTheRate) {
  const Planned p({"parallel.data=1", "cluster.threads=1"});

  const StepPrediction step = predict_step(p.args, p.plan, {.flops = 1e9, .bandwidth = 0});

  EXPECT_NEAR(step.seconds, tokens * flops_of(p) / 1e9, 1e-9);
  EXPECT_EQ(step.idle_share, 0);
  EXPECT_EQ(step.wire.total(), 0);
}

// They share its threads.
TEST(PredictStep, IsNoFasterForMoreWorkersInOneProcess) {
  const Planned one({"parallel.data=1"});
  const Planned four({"parallel.data=4"});

  const double alone = predict_step(one.args, one.plan, {.flops = 1e9, .bandwidth = 0}).seconds;
  const double shared = predict_step(four.args, four.plan, {.flops = 1e9, .bandwidth = 0}).seconds;

  EXPECT_NEAR(shared, alone, 1e-9);
}

TEST(PredictStep, WaitsAsTheScheduleDoes) {
  const auto idle = [](const std::string& schedule, int nodes) {
    const Planned p({"parallel.pipeline=4", "parallel.data=1", "parallel.schedule=" + schedule,
                     "cluster.nodes=" + std::to_string(nodes)});
    return predict_step(p.args, p.plan, {.flops = 1e9, .bandwidth = 0}).idle_share;
  };

  EXPECT_LT(idle("ZERO_BUBBLE", 4), idle("ONE_F_ONE_B", 4));
  EXPECT_LT(idle("DUALPIPE", 4), idle("ONE_F_ONE_B", 4));
}

std::vector<double> planned_flops(const Planned& p) {
  return process_flops(unit_work(p.args, p.plan), shares_of(p.plan.micro_batches));
}

TEST(ProcessFlops, OfAllProcessesAreThoseOfTheStep) {
  for (const char* layout : {"parallel.data=4", "parallel.pipeline=2", "parallel.expert=2", "parallel.expert_replicas=2"}) {
    const Planned p({layout, "cluster.nodes=4"});

    const std::vector<double> flops = planned_flops(p);

    ASSERT_EQ(flops.size(), 4u);
    EXPECT_NEAR(std::accumulate(flops.begin(), flops.end(), 0.0) / (tokens * flops_of(p)), 1, 1e-12)
        << layout;
  }
}

TEST(ProcessFlops, FollowWorkersAndExpertsToWhereTheyLive) {
  Planned p({"parallel.data=4", "parallel.expert=2", "cluster.nodes=2"});
  const std::vector<double> even = planned_flops(p);
  EXPECT_NEAR(even[0] / even[1], 1, 1e-12);

  p.plan.process_of_expert_shard.assign(p.plan.process_of_expert_shard.size(), 1);
  const std::vector<double> experts_in_one = planned_flops(p);
  p.plan.process_of_worker.assign(p.plan.process_of_worker.size(), 1);
  const std::vector<double> all_in_one = planned_flops(p);

  EXPECT_LT(experts_in_one[0], even[0]);
  EXPECT_GT(experts_in_one[0], 0.2 * even[0]);
  EXPECT_EQ(all_in_one[0], 0);
}

TEST(WireBytes, OfAPipelineAreARowForEachTokenAndBoundaryEachWay) {
  const Planned p(
      {"parallel.pipeline=4", "parallel.data=1", "cluster.nodes=2", "model.with.mtp_layers=0"});

  const WireBytes bytes = wire_bytes(p.args, p.plan);

  EXPECT_NEAR(bytes.pipeline, tokens * 2 * 4 * p.model.model.hidden_size(), 1)
      << "stages 1 and 2 are in different processes, others are not";
  EXPECT_EQ(bytes.experts, 0);
}

TEST(WireBytes, OfStateAreAGradientAndAWeightForEachUserButTheOwner) {
  const Planned p(
      {"parallel.pipeline=1", "parallel.data=4", "parallel.expert=1", "cluster.nodes=4"});
  const ParameterCounts counts = count_parameters(p.model.model);
  const double common = static_cast<double>(counts.total + counts.mtp) -
                        16.0 * 8 * static_cast<double>(counts.expert);

  EXPECT_NEAR(wire_bytes(p.args, p.plan).state, 3 * 12 * common, 1);
}

TEST(PredictStep, ARankThatComputesBesideTransfersHidesTheSmaller) {
  const auto step = [](const std::string& schedule) {
    const Planned p({"parallel.pipeline=2", "parallel.data=2", "parallel.expert=2",
                     "cluster.nodes=4", "train.micro_batches=32", "parallel.schedule=" + schedule});
    return predict_step(p.args, p.plan, {.flops = 1e10, .bandwidth = 1e8});
  };

  const StepPrediction dual = step("DUALPIPE");

  EXPECT_LT(dual.costs.beside, 1);
  EXPECT_LT(dual.pipeline_seconds, step("ZERO_BUBBLE").pipeline_seconds);
  EXPECT_GT(dual.state_seconds, 0);
}

}  // namespace
}  // namespace troupe::config
