#include "actors/train/trainer.h"

#include <gtest/gtest.h>

#include "tests/actors/spread_run.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using namespace std::chrono_literals;

// A process that takes a lost one's place learns from its first BeginStep what a step takes.
TEST(Trainer, TellsOtherProcessesWhatAStepUsuallyTakes) {
  Recipe recipe = small_recipe();
  recipe.steps = 1;
  Company* companies[2] = {};
  SpreadArgs args{.layout = {1, 1, 2, 1, 1, 2}, .processes = 2};
  args.trouble.failpoints = {parse_failpoint(Fault::fail, "stage/0@1:forward")};
  args.spoil = [&](Company& company) {
    companies[company.process] = &company;
    if (company.is_first()) company.deadlines.times.told(7s);
  };
  std::vector<std::chrono::milliseconds> known;  // to the other process, when an attempt begins
  const BatchSource batches = [&](uint64_t step) {
    known.push_back(companies[1]->deadlines.times.typical());
    return learnable_batches(recipe, step);
  };

  const SpreadOutcome outcome = play_spread(args, recipe, batches);

  ASSERT_EQ(outcome.error, "");
  ASSERT_GE(known.size(), 2u) << "the step is begun again, because an actor fails";
  EXPECT_EQ(known[0], 0s);
  EXPECT_EQ(known[1], 7s);
}

}  // namespace
}  // namespace troupe::tests
