// Whole runs on the GPU. Its kernels give the CPU's bits, so every hash is the CPU's.
#include <gtest/gtest.h>

#include "actors/launch.h"
#include "kernels/cuda/device/device.h"
#include "tests/actors/run_of.h"
#include "tests/actors/small_runs.h"
#include "tests/actors/spread_run.h"
#include "tests/actors/train/varied_recipe.h"
#include "tests/runtime/data_plane/nccl_ranks.h"

namespace troupe::tests {
namespace {

using namespace actors;
using kernels::Device;

class LaunchCudaTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
  }
};

Layout on_gpu(Layout layout) {
  layout.device = Device::cuda;
  return layout;
}

TEST_F(LaunchCudaTest, ThirtyStepsHaveTheCpusHashInEveryPrecision) {
  for (const auto precision :
       {kernels::Precision::fp32, kernels::Precision::bf16, kernels::Precision::fp8}) {
    Recipe recipe = recipe_of(3, 2, 30);
    recipe.precision = precision;
    const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;

    for (int run = 0; run < 2; ++run) {
      EXPECT_EQ(play_plainly(recipe, learnable(recipe), 2, Device::cuda).hash, wanted)
          << to_string(precision);
    }
    const Outcome outcome = play_with_actors(recipe, on_gpu({4, 2, 2, 2, 1, 2}), learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << to_string(precision) << outcome.error;
  }
}

TEST_F(LaunchCudaTest, LayoutsSchedulesAndRecomputationShowInNoBit) {
  using config::Parallel;
  Recipe recipe = recipe_of(4, 8, 2);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  recipe.recompute = true;

  for (const Layout& layout :
       {Layout{1, 1, 1, 1, 1, 1}, Layout{4, 2, 4, 3, 1, 4}, Layout{4, 4, 1, 2, 2, 2},
        Layout{4, 4, 1, 2, 1, 2, Parallel::ZERO_BUBBLE}, Layout{4, 4, 1, 2, 2, 3, Parallel::DUALPIPE}}) {
    const Outcome outcome = play_with_actors(recipe, on_gpu(layout), learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << to_string(layout) << outcome.error;
  }
}

TEST_F(LaunchCudaTest, GqaAndDenseModelsHaveTheCpusHash) {
  Recipe recipe = recipe_of(3, 3, 2);
  recipe.shape = small_gqa_shape(4, 2);
  recipe.shape.layers = recipe.shape.dense_layers = 3;
  recipe.shape.mtp_layers = 0;
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;

  EXPECT_EQ(play_with_actors(recipe, on_gpu({2, 1, 1, 1, 1, 1}), learnable(recipe)).hash, wanted);
}

TEST_F(LaunchCudaTest, AnActorThatIsLostInAStepLeavesTheHash) {
  const Recipe recipe = recipe_of(4, 4, 2);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;

  for (const Role role : {Role::stage, Role::attention_shard, Role::router, Role::expert_shard,
                          Role::optimizer_shard}) {
    const Phase phase = role == Role::optimizer_shard ? Phase::apply : Phase::backward;
    const Failpoint f{.role = role, .index = 0, .step = 2, .phase = phase};
    const Outcome outcome =
        play_with_actors(recipe, on_gpu({2, 2, 1, 2, 1, 2}), learnable(recipe), {}, {{f}});
    EXPECT_EQ(outcome.hash, wanted) << to_string(f) << outcome.error;
    EXPECT_EQ(outcome.count(wire::Event::ACTOR_RESTARTED), 1) << to_string(f);
  }
}

Recipe recipe_of_tensor_cores(kernels::Precision precision, int64_t layers, int64_t micro_batches,
                              int64_t steps) {
  Recipe recipe = recipe_of(layers, micro_batches, steps);
  recipe.precision = precision;
  recipe.arithmetic = kernels::Arithmetic::sm_90a;
  return recipe;
}

/// Of experts whose rows become codes where they are gathered (kernels/layers/ffn_codes.h).
Recipe recipe_of_codes(int64_t layers, int64_t micro_batches, int64_t steps,
                       kernels::Precision precision = kernels::Precision::fp8) {
  Recipe recipe = recipe_of_tensor_cores(precision, layers, micro_batches, steps);
  recipe.shape.hidden = 32;
  recipe.shape.expert_width = 128;
  return recipe;
}

TEST_F(LaunchCudaTest, ThirtyStepsOnTensorCoresHaveOneHashInEveryLayout) {
  for (const Recipe& each : {recipe_of_tensor_cores(kernels::Precision::bf16, 3, 2, 30),
                             recipe_of_tensor_cores(kernels::Precision::fp8, 3, 2, 30),
                             recipe_of_codes(3, 2, 30),
                             recipe_of_codes(3, 2, 30, kernels::Precision::fp8_unpromoted)}) {
    Recipe recipe = each;
    const auto precision = recipe.precision;
    const Outcome plain = play_plainly(recipe, learnable(recipe), 2, Device::cuda);

    EXPECT_EQ(play_plainly(recipe, learnable(recipe), 1, Device::cuda).hash, plain.hash);
    for (const Layout& layout : {Layout{1, 1, 1, 1, 1, 1}, Layout{4, 2, 2, 2, 1, 2}}) {
      const Outcome outcome = play_with_actors(recipe, on_gpu(layout), learnable(recipe));
      EXPECT_EQ(outcome.hash, plain.hash)
          << to_string(precision) << to_string(layout) << outcome.error;
      recipe.recompute = true;
    }
    const SpreadOutcome spread = play_spread({.layout = on_gpu({2, 1, 2, 2, 1, 2}), .processes = 2},
                                             recipe, learnable(recipe));
    EXPECT_EQ(spread.hash, plain.hash) << to_string(precision) << spread.error;
  }
}

// Other orders of the same sums: the losses are close, the bits are not.
TEST_F(LaunchCudaTest, TensorCoresLearnAsTheCpuDoes) {
  Recipe recipe = recipe_of_tensor_cores(kernels::Precision::bf16, 3, 2, 30);
  const Outcome ours = play_plainly(recipe, learnable(recipe), 2, Device::cuda);
  recipe.arithmetic = kernels::Arithmetic::cpu;
  const Outcome cpu = play_plainly(recipe, learnable(recipe));

  EXPECT_NE(ours.hash, cpu.hash);
  for (size_t step = 0; step < cpu.steps.size(); ++step) {
    const double wanted = cpu.steps[step].record().loss();
    const double tolerance = step < 10 ? 0.005 : 0.06;  // the runs part as they go on
    EXPECT_NEAR(ours.steps[step].record().loss(), wanted, tolerance * wanted) << "step " << step + 1;
  }
}

/// Of ten steps, the last one `end`.
double mean_loss(const Outcome& outcome, size_t end) {
  double sum = 0;
  for (size_t step = end - 10; step < end; ++step) sum += outcome.steps[step].record().loss();
  return sum / 10;
}

// FP8 parts from the first step on, in a model of so few numbers by more than a large one.
TEST_F(LaunchCudaTest, TensorCoresLearnInFp8AsTheCpuDoes) {
  Recipe recipe = recipe_of_tensor_cores(kernels::Precision::fp8, 3, 2, 30);
  const Outcome ours = play_plainly(recipe, learnable(recipe), 2, Device::cuda);
  recipe.arithmetic = kernels::Arithmetic::cpu;
  const Outcome cpu = play_plainly(recipe, learnable(recipe));

  EXPECT_NE(ours.hash, cpu.hash);
  EXPECT_NEAR(ours.steps[0].record().loss(), cpu.steps[0].record().loss(), 0.03);
  for (const size_t end : {10, 20, 30}) {
    EXPECT_NEAR(mean_loss(ours, end), mean_loss(cpu, end), 0.03 * mean_loss(cpu, end)) << end;
  }
}

TEST_F(LaunchCudaTest, AnActorThatIsLostOnTensorCoresLeavesTheHash) {
  for (const Recipe& recipe : {recipe_of_tensor_cores(kernels::Precision::fp8, 4, 4, 2),
                               recipe_of_codes(4, 4, 2)}) {
    const std::string wanted = play_plainly(recipe, learnable(recipe), 2, Device::cuda).hash;

    for (const Role role : {Role::stage, Role::attention_shard, Role::router, Role::expert_shard}) {
      const Failpoint f{.role = role, .index = 0, .step = 2, .phase = Phase::backward};
      const Outcome outcome =
          play_with_actors(recipe, on_gpu({2, 2, 1, 2, 1, 2}), learnable(recipe), {}, {{f}});
      EXPECT_EQ(outcome.hash, wanted) << recipe.shape.hidden << to_string(f) << outcome.error;
    }
  }
}

// Law 3: what is recorded is what each expert gets, whoever gathers it otherwise.
TEST_F(LaunchCudaTest, UnitsOnTensorCoresAreTheSameInEveryLayout) {
  for (const Recipe& recipe :
       {recipe_of_tensor_cores(kernels::Precision::bf16, 3, 2, 2), recipe_of_codes(3, 2, 2)}) {
    std::vector<std::vector<std::string>> found;
    for (const Layout& layout : {Layout{1, 1, 1, 1, 1, 1}, Layout{4, 2, 2, 2, 1, 2}}) {
      std::vector<std::string>& steps = found.emplace_back();
      Company* company = nullptr;
      const Outcome outcome = play_with_actors(
          recipe, on_gpu(layout), learnable(recipe),
          [&](const wire::StepDone&) {
            while (const auto units = company->units->oldest()) {
              steps.push_back(units->SerializeAsString());
              company->units->drop(units->step());
            }
          },
          {.failpoints = {}, .prepare = [&](Company& all) {
            company = &all;
            all.record_units();
          }});
      EXPECT_EQ(outcome.error, "") << to_string(layout);
      EXPECT_EQ(steps.size(), 2u);
    }
    EXPECT_EQ(found[0], found[1]) << to_string(recipe.precision);
  }
}

// Rows, sums of gradients and weights go from GPU to GPU; each process updates what it owns, and its ward's.
TEST_F(LaunchCudaTest, ProcessesThatShareAGpuHaveTheCpusHash) {
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::fp8}) {
    Recipe recipe = recipe_of(4, 4, 2);
    recipe.precision = precision;
    recipe.optimizer.set_ema_decay(0.9);
    const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;

    for (const int redundancy : {0, 1}) {
      for (const Layout& layout : {Layout{2, 1, 2, 2, 1, 2}, Layout{2, 2, 1, 2, 1, 4},
                                   with_replicas({2, 1, 2, 1, 1, 2}, 2)}) {
        const SpreadOutcome outcome = play_spread(
            {.layout = on_gpu(layout), .processes = 2, .redundancy = redundancy}, recipe, learnable(recipe));
        EXPECT_EQ(outcome.hash, wanted)
            << to_string(precision) << to_string(layout) << redundancy << outcome.error;
      }
    }
  }
}

// Law 2: NCCL adds integers in an order of its own. Law 3: what is lost with an attempt shows in no bit.
TEST_F(LaunchCudaTest, ShardsThatSumByNcclHaveTheCpusHash) {
  if (const std::string why = why_not_several_ranks(); !why.empty()) GTEST_SKIP() << "two ranks on one GPU: " << why;
  Recipe recipe = recipe_of(4, 4, 3);
  recipe.optimizer.set_ema_decay(0.9);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  const auto take_groups = [](Company& company) {
    company.groups = {runtime::make_nccl_group, runtime::new_nccl_id};
  };

  for (const int redundancy : {0, 1}) {
    for (const SpreadArgs& run :
         {SpreadArgs{{2, 1, 2, 2, 1, 2}, 2}, SpreadArgs{with_replicas({2, 1, 2, 1, 1, 2}, 2), 2},
          SpreadArgs{{1, 1, 3, 3, 1, 3}, 3}}) {
      SpreadArgs args = run;
      args.layout = on_gpu(args.layout);
      args.redundancy = redundancy;
      args.spoil = take_groups;
      const SpreadOutcome outcome = play_spread(args, recipe, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << to_string(args.layout) << redundancy << outcome.error;
    }
    for (const char* where :
         {"optimizer_shard/1@2:prepare", "optimizer_shard/0@2:apply", "expert_shard/1@2:backward"}) {
      const Failpoint f = parse_failpoint(Fault::kill, where);
      const SpreadArgs args{.layout = on_gpu({1, 1, 2, 2, 1, 2}), .processes = 2, .redundancy = redundancy,
                            .trouble = {.failpoints = {f}, .deadline = std::chrono::seconds(5)},
                            .spoil = take_groups};
      const SpreadOutcome outcome = play_spread(args, recipe, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << where << redundancy << outcome.error;
    }
  }
}

// A worker without a unit of a tensor adds zeros, not what it had added a step ago.
TEST_F(LaunchCudaTest, WorkersWithoutAMicroBatchAddNothingByNccl) {
  if (const std::string why = why_not_several_ranks(); !why.empty()) GTEST_SKIP() << "two ranks on one GPU: " << why;
  Recipe recipe = recipe_of(3, 3, 4);
  config::Curve& curve = *recipe.schedule.mutable_micro_batches();
  curve.set_start(3);  // in the first step; then two workers of three have none
  go_to(curve, 3.0 * static_cast<double>(recipe.sequences * recipe.sequence_rows), 1, config::CurvePoint::CONSTANT);
  const BatchSource batches = [recipe](uint64_t step) { return varied_batches(recipe, step); };
  ASSERT_EQ(batches(1).size(), 3u);
  ASSERT_EQ(batches(2).size(), 1u);
  const std::string wanted = play_plainly(recipe, batches).hash;
  for (const int redundancy : {0, 1}) {
    const SpreadArgs args{.layout = on_gpu({1, 1, 3, 3, 1, 3}), .processes = 3, .redundancy = redundancy,
                          .spoil = [](Company& company) {
                            company.groups = {runtime::make_nccl_group, runtime::new_nccl_id};
                          }};
    const SpreadOutcome outcome = play_spread(args, recipe, batches);
    EXPECT_EQ(outcome.hash, wanted) << redundancy << outcome.error;
  }
}

// What it gets comes to the host; what the others have was made on their GPUs.
TEST_F(LaunchCudaTest, AProcessThatTakesALostOnesPlaceLeavesTheHash) {
  for (const Recipe& each : {recipe_of_tensor_cores(kernels::Precision::bf16, 3, 4, 4),
                             recipe_of_tensor_cores(kernels::Precision::fp8, 3, 4, 4),
                             recipe_of_codes(3, 4, 4)}) {
    Recipe recipe = each;
    const auto precision = recipe.precision;
    recipe.optimizer.set_ema_decay(0.9);
    const std::string wanted = play_plainly(recipe, learnable(recipe), 2, Device::cuda).hash;

    for (const std::set<int>& newcomers : {std::set<int>{}, {1}, {0}}) {
      const SpreadOutcome outcome = play_spread(
          {.layout = on_gpu({1, 1, 2, 2, 1, 2}), .processes = 2, .redundancy = 1, .newcomers = newcomers}, recipe,
          learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted)
          << to_string(precision) << testing::PrintToString(newcomers) << outcome.error;
    }
  }
}

TEST_F(LaunchCudaTest, AStateThatIsHandedOutHasTheCpusHash) {
  const Recipe recipe = recipe_of(3, 4, 3);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const int redundancy : {0, 1}) {
    const SpreadOutcome outcome = play_spread(
        {.layout = on_gpu({1, 1, 2, 2, 1, 2}), .processes = 2, .redundancy = redundancy, .hands_out_state = true},
        recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << redundancy << outcome.error;
  }
}

}  // namespace
}  // namespace troupe::tests
