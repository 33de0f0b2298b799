// 50 steps of the tiny model: the plain loop and the actors, however many, end with one hash.
#include <gtest/gtest.h>

#include "config/load.h"
#include "kernels/random.h"
#include "runtime/model_shape.h"
#include "tests/actors/run_of.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace actors;

Recipe tiny_recipe(int64_t steps) {
  const std::string source = TROUPE_SOURCE_DIR;
  const std::string setting = "train.steps=" + std::to_string(steps);
  const auto run = config::load_run(source + "/config/runs/pretrain_tiny.textproto", {&setting, 1});
  return make_recipe(run.run, runtime::model_shape(config::model_of(run).model));
}

/// Tokens with some structure; a function of the step.
BatchSource tokens(const Recipe& recipe) {
  return [recipe](uint64_t step) {
    std::vector<MicroBatch> batches;
    for (int64_t m = 0; m < recipe.micro_batches; ++m) {
      std::vector<int32_t> values;
      for (int64_t i = 0; i < recipe.sequences * (recipe.sequence_rows + 1); ++i) {
        const kernels::RandomKey key{3, kernels::Purpose::test, static_cast<uint32_t>(m),
                                     step * 100000 + static_cast<uint64_t>(i)};
        values.push_back(i % 3 == 0 ? static_cast<int32_t>(i % 97)
                                    : static_cast<int32_t>(kernels::random_below(key, 200)));
      }
      batches.push_back(make_micro_batch(values, recipe.sequences));
    }
    return batches;
  };
}

// Laws 1 and 2, at full length.
TEST(SameBits, FiftyStepsOfTinyEndWithOneHash) {
  const Recipe recipe = tiny_recipe(50);
  const std::string wanted = play_plainly(recipe, tokens(recipe), 1).hash;

  for (const Layout& layout : {Layout{2, 1, 2, 1, 1, 2}, Layout{4, 4, 2, 3, 2, 4}}) {
    EXPECT_EQ(play_with_actors(recipe, layout, tokens(recipe)).hash, wanted) << to_string(layout);
  }
}

TEST(SameBits, FourStepsOfTinyEndWithOneHashInMoreLayouts) {
  const Recipe recipe = tiny_recipe(4);
  const std::string wanted = play_plainly(recipe, tokens(recipe), 4).hash;

  for (const Layout& layout :
       {Layout{1, 1, 1, 1, 1, 1}, Layout{2, 2, 1, 2, 1, 2}, Layout{4, 1, 4, 4, 4, 4},
        Layout{2, 3, 3, 1, 3, 3}, Layout{1, 2, 3, 4, 2, 1},
        Layout{2, 4, 1, 2, 1, 2, config::Parallel::ZERO_BUBBLE},
        Layout{2, 4, 1, 2, 1, 2, config::Parallel::DUALPIPE},
        Layout{2, 2, 2, 2, 2, 2, config::Parallel::DUALPIPE_V}}) {
    EXPECT_EQ(play_with_actors(recipe, layout, tokens(recipe)).hash, wanted) << to_string(layout);
  }
}

// Law 1 and the arithmetic's claim: in every precision no instruction set, thread or layout shows,
// nor what is computed again.
TEST(SameBits, EveryPrecisionHasOneHashUnderAllInstructionSets) {
  const IsaGuard guard;
  for (const auto precision :
       {kernels::Precision::fp32, kernels::Precision::bf16, kernels::Precision::fp8}) {
    Recipe recipe = tiny_recipe(2);
    recipe.micro_batches = 2;
    recipe.precision = precision;
    kernels::cpu::force_isa(kernels::cpu::available_isas().back());
    const std::string wanted = play_plainly(recipe, tokens(recipe), 1).hash;
    recipe.recompute = true;

    for (const auto isa : kernels::cpu::available_isas()) {
      kernels::cpu::force_isa(isa);
      EXPECT_EQ(play_with_actors(recipe, {2, 2, 2, 2, 1, 2}, tokens(recipe)).hash, wanted)
          << to_string(precision) << ", " << to_string(isa);
    }
  }
}

}  // namespace
}  // namespace troupe::tests
