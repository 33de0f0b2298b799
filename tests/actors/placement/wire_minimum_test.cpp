#include "actors/placement/wire_minimum.h"

#include <gtest/gtest.h>

#include "tests/actors/small_runs.h"
#include "tests/actors/spread_run.h"

namespace troupe::tests {
namespace {

using namespace actors;

/// Wide enough that headers are few beside rows.
Recipe wide_recipe(kernels::Precision precision) {
  Recipe recipe = small_recipe();
  recipe.shape.layers = 3;
  recipe.steps = 8;
  recipe.micro_batches = 4;
  recipe.shape.hidden = 256;
  recipe.shape.expert_width = 16;
  recipe.sequence_rows = 64;
  recipe.precision = precision;
  return recipe;
}

// What goes over the wire is little more than what the format needs: steps behind the first, UCX
// between companies of this process.
TEST(WireMinimum, AStepSendsAtMostATenthMore) {
  if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::fp8}) {
    const Recipe recipe = wide_recipe(precision);
    for (SpreadArgs run : {SpreadArgs{{1, 1, 2, 2, 1, 2}, 2}, SpreadArgs{{1, 2, 1, 2, 1, 2}, 2},
                           SpreadArgs{{1, 2, 2, 2, 1, 4}, 4}, SpreadArgs{{1, 1, 2, 2, 1, 2}, 2, 1}}) {
      run.make_plane = [](runtime::PlaneEvents events) {
        return runtime::make_ucx_plane({.network = "lo"}, std::move(events));
      };
      const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
      ASSERT_EQ(outcome.error, "");
      ASSERT_TRUE(outcome.steps.back().has_wire());
      wire::WireUse wire;
      for (const wire::StepDone& step : outcome.steps) {
        wire.set_wire_bytes(wire.wire_bytes() + step.wire().wire_bytes());
        wire.set_minimum_bytes(wire.minimum_bytes() + step.wire().minimum_bytes());
        wire.set_parcels(wire.parcels() + step.wire().parcels());
      }
      const double ratio = static_cast<double>(wire.wire_bytes()) /
                           static_cast<double>(wire.minimum_bytes());
      std::cout << to_string(run.layout) << " in " << run.processes << " processes, "
                << to_string(precision) << ": " << wire.wire_bytes() << " bytes, minimum "
                << wire.minimum_bytes() << ", " << ratio << " x, " << wire.parcels() << " parcels\n";
      EXPECT_GE(ratio, 1.0) << "nothing of a step is counted in another";
      EXPECT_LE(ratio, 1.1);
    }
  }
}

TEST(WireMinimum, OneProcessSendsNothing) {
  Recipe recipe = small_recipe();
  recipe.steps = 2;
  const SpreadOutcome outcome = play_spread({{1, 1, 2, 2, 1, 2}, 1}, recipe, learnable(recipe));
  ASSERT_EQ(outcome.error, "");
  EXPECT_FALSE(outcome.steps.back().has_wire());
}

}  // namespace
}  // namespace troupe::tests
