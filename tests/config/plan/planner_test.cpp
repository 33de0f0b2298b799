#include "config/plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "config/parameters.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Plan plan_of(const std::vector<std::string>& settings, int cores) {
  const LoadedRun run = tiny_run(settings);
  const LoadedModel model = model_of(run);
  return make_plan({.run = run, .model = model, .cores = cores});
}

std::string plan_error(const std::vector<std::string>& settings) {
  return error_of([&] { plan_of(settings, 2); });
}

TEST(Planner, PlansWhatIsUnsetFromTheCores) {
  const Plan plan = plan_of({}, 2);

  EXPECT_EQ(plan.threads, 2);
  EXPECT_EQ(plan.pipeline, 1);
  EXPECT_EQ(plan.data, 2);
  EXPECT_EQ(plan.expert, 2);
  EXPECT_EQ(plan.attention, 1);
  EXPECT_EQ(plan.optimizer_shards, 2);
  EXPECT_EQ(plan_of({}, 64).data, 8) << "no more data workers than micro-batches";
  EXPECT_EQ(plan_of({}, 0).threads, 1);
}

// Several workers of a process would take turns on its GPU.
TEST(Planner, PlansOneWorkerForEachProcessWithAGpu) {
  const Plan one = plan_of({"cluster.device=CUDA"}, 16), two = plan_of({"cluster.device=CUDA", "cluster.nodes=2"}, 16);
  EXPECT_EQ(one.data, 1);
  EXPECT_EQ(one.expert, 1);
  EXPECT_EQ(one.optimizer_shards, 1);
  EXPECT_EQ(one.threads, 16);
  EXPECT_EQ(two.data, 2);
  EXPECT_EQ(two.expert, 2);
  EXPECT_EQ(two.optimizer_shards, 2);
}

TEST(Planner, DoesWhatIsSet) {
  const Plan plan = plan_of({"parallel.pipeline=3", "parallel.data=4", "parallel.expert=3",
                             "parallel.attention=2", "parallel.optimizer=5", "cluster.threads=7"},
                            2);

  EXPECT_EQ(plan.stages.size(), 3u);
  EXPECT_EQ(plan.data, 4);
  EXPECT_EQ(plan.attention, 2);
  EXPECT_EQ(plan.optimizer_shards, 5);
  EXPECT_EQ(plan.threads, 7);
  EXPECT_THAT(plan.micro_batches, ElementsAre(ElementsAre(0, 4), ElementsAre(1, 5),
                                              ElementsAre(2, 6), ElementsAre(3, 7)));
}

TEST(Planner, GivesEveryExpertToOneShard) {
  for (int shards = 1; shards <= 16; ++shards) {
    const Plan plan = plan_of({"parallel.expert=" + std::to_string(shards)}, 2);
    int next = 0;
    for (const ExpertRange& range : plan.experts) {
      EXPECT_EQ(range.first, next);
      EXPECT_GE(range.count, 1);
      next += range.count;
    }
    EXPECT_EQ(next, 16);
  }
}

TEST(Planner, GivesEveryLayerAndParameterToOneStage) {
  const ParameterCounts counts = count_parameters(model_of(tiny_run()).model);

  for (int stages = 1; stages <= 8; ++stages) {
    const Plan plan = plan_of({"parallel.pipeline=" + std::to_string(stages)}, 2);
    int next = 0;
    int64_t parameters = 0;
    for (const StagePlan& stage : plan.stages) {
      EXPECT_EQ(stage.first_layer, next);
      EXPECT_GE(stage.layers, 1);
      next += stage.layers;
      parameters += stage.parameters;
    }
    EXPECT_EQ(next, 8);
    EXPECT_EQ(parameters, counts.total + counts.mtp);
  }
}

TEST(Planner, RefusesMoreThanThereIs) {
  EXPECT_EQ(plan_error({"parallel.pipeline=9"}),
            "--set parallel.pipeline=9: parallel.pipeline: found 9, wanted at most 8, the layers "
            "of the model");
  EXPECT_THAT(plan_error({"parallel.data=9"}), HasSubstr("wanted at most 8, the micro-batches"));
  EXPECT_THAT(plan_error({"parallel.expert=17"}), HasSubstr("wanted at most 16, the experts"));
  EXPECT_THAT(plan_error({"parallel.attention=9"}), HasSubstr("parallel.attention: found 9"));
}

TEST(Planner, PlansWhatABidirectionalScheduleCanPlay) {
  const Plan dual = plan_of({"parallel.schedule=DUALPIPE", "train.micro_batches=14"}, 4);
  const Plan v = plan_of({"parallel.schedule=DUALPIPE_V", "train.micro_batches=15"}, 8);

  EXPECT_EQ(dual.pipeline, 2);
  EXPECT_EQ(dual.data, 1) << "of 14 micro-batches two workers would have 7 each, an odd number";
  EXPECT_EQ(v.pipeline, 2);
  EXPECT_EQ(v.ranks(), 1);
  EXPECT_EQ(v.data, 7) << "at least two micro-batches each";
}

TEST(Planner, RefusesAScheduleThatCannotBePlayedAndNamesOneThatCan) {
  EXPECT_EQ(plan_error({"parallel.schedule=DUALPIPE", "parallel.pipeline=3"}),
            "--set parallel.schedule=DUALPIPE: parallel.schedule: found DUALPIPE with 3 stages, "
            "wanted an even number of stages; or ZERO_BUBBLE");
  EXPECT_THAT(plan_error({"parallel.schedule=DUALPIPE", "parallel.pipeline=4", "parallel.data=2"}),
              HasSubstr("found DUALPIPE with 4 micro-batches of a data worker, wanted an even number "
                        "of at least 2 x 4 ranks = 8; or ZERO_BUBBLE"));
}

TEST(Place, GivesTheTwoStagesOfARankToTheSameProcesses) {
  const Plan plan = plan_of({"parallel.schedule=DUALPIPE_V", "parallel.pipeline=4",
                             "parallel.data=2", "parallel.expert=2", "cluster.nodes=4"}, 8);

  EXPECT_THAT(plan.process_of_worker, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(plan.process_of_expert_shard, ElementsAre(0, 1, 2, 3, 2, 3, 0, 1));
}

TEST(Planner, GivesEachReplicaOfTheExpertsWorkersOfItsOwn) {
  const Plan plan = plan_of({"parallel.data=4", "parallel.expert_replicas=2", "cluster.nodes=4"}, 8);
  EXPECT_EQ(plan.expert, 2);
  EXPECT_THAT(plan.process_of_expert_shard, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(plan.replica_of(1), 0);
  EXPECT_EQ(plan.replica_of(2), 1);

  const Plan fewer = plan_of({"parallel.data=1", "parallel.expert_replicas=2"}, 8);
  EXPECT_EQ(fewer.expert_replicas, 1) << "no more than workers";
}

// A process has no experts of which the rows of its own workers are never.
TEST(Place, PutsAReplicaWhereItsWorkersAre) {
  const Plan uneven = plan_of({"parallel.data=3", "parallel.expert_replicas=2", "cluster.nodes=3"}, 8);
  EXPECT_THAT(uneven.process_of_worker, ElementsAre(0, 1, 2));
  EXPECT_EQ(uneven.replica_of(1), 0);
  EXPECT_THAT(uneven.process_of_expert_shard, ElementsAre(0, 1, 2, 2));

  const Plan more = plan_of({"parallel.pipeline=1", "parallel.data=2", "parallel.expert=2",
                             "parallel.expert_replicas=2", "cluster.nodes=4"}, 8);
  EXPECT_THAT(more.process_of_expert_shard, ElementsAre(0, 1, 2, 3)) << "more processes than workers";
}

TEST(BalancedCut, MakesTheMostCostlyPartCheapest) {
  EXPECT_THAT(balanced_cut({1, 1, 1, 1, 1, 5}, 2), ElementsAre(5, 1));
  EXPECT_THAT(balanced_cut({5, 1, 1, 1, 1, 1}, 3), ElementsAre(1, 4, 1));
  EXPECT_THAT(balanced_cut({1, 1, 1}, 3), ElementsAre(1, 1, 1));
  EXPECT_THAT(balanced_cut({0, 0, 0}, 2), ElementsAre(2, 1));
}

double most_costly(const std::vector<double>& costs, const std::vector<int>& lengths) {
  double most = 0;
  auto at = costs.begin();
  for (int length : lengths) {
    most = std::max(most, std::accumulate(at, at + length, 0.0));
    at += length;
  }
  return most;
}

/// The best cut into `parts` by trying all of them.
double best_cut(const std::vector<double>& costs, size_t first, int parts) {
  if (parts == 1)
    return std::accumulate(costs.begin() + static_cast<long>(first), costs.end(), 0.0);
  double best = 1e300;
  double sum = 0;
  for (size_t next = first + 1; next + static_cast<size_t>(parts) - 1 <= costs.size(); ++next) {
    sum += costs[next - 1];
    best = std::min(best, std::max(sum, best_cut(costs, next, parts - 1)));
  }
  return best;
}

TEST(BalancedCut, IsAsGoodAsTheBestOfAllCuts) {
  std::mt19937 random(3);

  for (int i = 0; i < 300; ++i) {
    std::vector<double> costs(2 + random() % 8);
    for (double& cost : costs) cost = 1 + random() % 20;
    const int parts = 1 + static_cast<int>(random() % costs.size());

    const std::vector<int> lengths = balanced_cut(costs, parts);

    ASSERT_EQ(lengths.size(), static_cast<size_t>(parts));
    ASSERT_EQ(std::accumulate(lengths.begin(), lengths.end(), 0), static_cast<int>(costs.size()));
    ASSERT_THAT(lengths, testing::Each(testing::Ge(1)));
    ASSERT_NEAR(most_costly(costs, lengths), best_cut(costs, 0, parts), 1e-6);
  }
}

}  // namespace
}  // namespace troupe::config
