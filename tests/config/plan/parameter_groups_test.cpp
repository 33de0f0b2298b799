#include "config/plan/parameter_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/parameters.h"
#include "tests/config/plan/planned.h"

namespace troupe::config {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Field;

TEST(ParameterGroups, HaveEveryParameterOnce) {
  for (const int pipeline : {1, 2, 8}) {
    const Planned p(
        {"parallel.pipeline=" + std::to_string(pipeline), "parallel.expert=3", "cluster.nodes=4"});
    const ParameterCounts counts = count_parameters(p.model.model);
    int64_t sum = 0;
    for (const ParameterGroup& group : parameter_groups(p.args, p.plan)) sum += group.parameters;

    EXPECT_EQ(sum, counts.total + counts.mtp);
  }
}

TEST(ParameterGroups, OfOneProcessAreAllItsOwn) {
  const Planned p(std::vector<std::string>{});

  EXPECT_THAT(parameter_groups(p.args, p.plan),
              Each(Field(&ParameterGroup::users, ElementsAre(0))));
}

// MTP embeds tokens at the last stage.
TEST(ParameterGroups, TheEmbeddingIsUsedAtBothEnds) {
  const Planned with({"parallel.pipeline=4", "parallel.data=1", "cluster.nodes=4"});
  const Planned without(
      {"parallel.pipeline=4", "parallel.data=1", "cluster.nodes=4", "model.with.mtp_layers=0"});

  EXPECT_THAT(parameter_groups(with.args, with.plan)[0].users, ElementsAre(0, 3));
  EXPECT_THAT(parameter_groups(without.args, without.plan)[0].users, ElementsAre(0));
}

TEST(ProcessesOfStage, AreThoseOfBothRanksThatHoldIt) {
  const std::vector<std::string> settings{"parallel.pipeline=4", "parallel.data=1",
                                          "cluster.nodes=4"};
  const auto with = [&](const std::string& schedule, const std::string& nodes) {
    auto all = settings;
    all.push_back("parallel.schedule=" + schedule);
    all.push_back("cluster.nodes=" + nodes);
    return Planned(all);
  };

  EXPECT_THAT(processes_of_stage(with("ZERO_BUBBLE", "4").plan, 1), ElementsAre(1));
  EXPECT_THAT(processes_of_stage(with("DUALPIPE", "4").plan, 1), ElementsAre(1, 2));
  EXPECT_THAT(processes_of_stage(with("DUALPIPE_V", "2").plan, 3), ElementsAre(0));
}

TEST(MoeLayersOf, CountsThoseBehindTheDenseOnesAndMtps) {
  const Planned p({"parallel.pipeline=2"});
  int layers = 0;
  for (const StagePlan& stage : p.plan.stages) layers += moe_layers_of(p.model.model, stage);

  EXPECT_EQ(layers, 8 - 1 + 1);
}

}  // namespace
}  // namespace troupe::config
