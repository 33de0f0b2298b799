#include "deploy/cluster/lead/slow_nodes.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using deploy::SlowNodes;
using Changes = std::vector<runtime::SlowWorkers::Change>;

wire::StepDone step(const std::vector<double>& unit_seconds, uint32_t attempts = 1) {
  wire::StepDone done;
  done.set_attempts(attempts);
  for (size_t p = 0; p < unit_seconds.size(); ++p) {
    wire::ProcessWork& work = *done.add_work();
    work.set_process(static_cast<int>(p));
    work.set_unit_seconds(unit_seconds[p]);
  }
  return done;
}

/// Processes with a data worker each, and no experts.
config::UnitWork work_of(const std::vector<double>& flops) {
  config::UnitWork work{.workers = {}, .experts = std::vector<double>(flops.size(), 0)};
  for (size_t p = 0; p < flops.size(); ++p) work.workers.push_back({{static_cast<int>(p), flops[p]}});
  return work;
}

Changes hear(SlowNodes& nodes, const wire::StepDone& done, int steps, uint32_t life = 1) {
  Changes all;
  for (int i = 0; i < steps; ++i) {
    for (const auto& change : nodes.hear(done, {1, 1, life})) all.push_back(change);
  }
  return all;
}

TEST(SlowNodes, AreThoseThatNeedLongerForTheirShareOfThePlan) {
  SlowNodes nodes(work_of({1e9, 1e9, 1e9}), {1, 1, 2});

  EXPECT_EQ(hear(nodes, step({1, 1.1, 2}), 40).size(), 0u) << "process 2 has twice the work";
  const Changes named = hear(nodes, step({1, 2, 2}), 40);

  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].process, 1);
  EXPECT_EQ(deploy::describe(named[0], "process 1 (b, pid 2)"),
            "slow: process 1 (b, pid 2) takes 2.00 x the others' time for its work");
}

TEST(SlowNodes, AreJudgedByTheMicroBatchesThatTheyHadInTheStep) {
  SlowNodes nodes(work_of({1e9, 1e9, 1e9}), {2, 2, 2});
  wire::StepDone done = step({2, 2, 1});
  for (const int share : {4, 4, 1}) done.add_shares(share);

  const Changes named = hear(nodes, done, 40);

  ASSERT_EQ(named.size(), 1u) << "process 2 takes half of the time for a quarter of the work";
  EXPECT_EQ(named[0].process, 2);
}

TEST(SlowNodes, AStepThatWasBegunAgainSaysNothing) {
  SlowNodes nodes(work_of({1e9, 1e9, 1e9}), {2, 2, 2});

  EXPECT_EQ(hear(nodes, step({1, 1, 5}, 2), 40).size(), 0u);
}

TEST(SlowNodes, WhoStandsInAPlaceIsNotJudgedByItsForerunner) {
  SlowNodes nodes(work_of({1e9, 1e9, 1e9}), {2, 2, 2});
  ASSERT_EQ(hear(nodes, step({1, 1, 5}), 40).size(), 1u);

  EXPECT_EQ(hear(nodes, step({1, 1, 1}), 40, 2).size(), 0u);
}

}  // namespace
}  // namespace troupe::tests
