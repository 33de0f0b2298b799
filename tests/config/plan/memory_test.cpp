#include "config/plan/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/parameters.h"
#include "config/plan/describe.h"
#include "tests/config/plan/planned.h"

namespace troupe::config {
namespace {

using testing::HasSubstr;

TEST(EstimateMemory, CountsThirtyTwoBytesAParameter) {
  const LoadedRun run = tiny_run();
  const LoadedModel model = model_of(run);
  const PlanArgs args{.run = run, .model = model, .cores = 1};
  const Plan plan = make_plan(args);
  const ParameterCounts counts = count_parameters(model.model);

  const MemoryEstimate memory = estimate_memory(args, plan, 0);

  EXPECT_EQ(memory.weight_bytes + memory.moment_bytes + memory.gradient_bytes,
            32 * (counts.total + counts.mtp));
}

TEST(EstimateMemory, Bf16MomentsTakeHalfAndAnEmaEightBytes) {
  const auto memory_of = [](const std::vector<std::string>& settings) {
    const LoadedRun run = tiny_run(settings);
    const LoadedModel model = model_of(run);
    const PlanArgs args{.run = run, .model = model, .cores = 1};
    return std::pair(estimate_memory(args, make_plan(args), 0),
                     describe_plan(args, make_plan(args)));
  };
  const auto [plain, plain_text] = memory_of({});
  const auto [memory, text] =
      memory_of({"train.optimizer.moments=BF16", "train.optimizer.ema_decay=0.99"});

  EXPECT_EQ(2 * memory.moment_bytes, plain.moment_bytes);
  EXPECT_EQ(memory.ema_bytes, memory.weight_bytes);
  EXPECT_EQ(plain.ema_bytes, 0);
  EXPECT_THAT(text, HasSubstr("weights 31.1 MiB, moments 31.1 MiB, EMA 31.1 MiB, gradients"));
  EXPECT_THAT(plain_text, HasSubstr("weights 31.1 MiB, moments 62.3 MiB, gradients"));
}

TEST(EstimateMemory, ActivationsGrowWithTheMicroBatchesInFlight) {
  const auto activations = [](const std::string& setting) {
    const LoadedRun run = tiny_run({setting});
    const LoadedModel model = model_of(run);
    const PlanArgs args{.run = run, .model = model, .cores = 1};
    return estimate_memory(args, make_plan(args), 0).activation_bytes;
  };

  EXPECT_EQ(activations("train.micro_batch=4"), 2 * activations("train.micro_batch=2"));
  EXPECT_GT(activations("parallel.pipeline=2"), activations("parallel.pipeline=1") / 2);
}

TEST(EstimateMemory, RecomputationSavesWhatItSays) {
  const auto args_of = [](const LoadedRun& run, const LoadedModel& model) {
    return PlanArgs{.run = run, .model = model, .cores = 1};
  };
  const LoadedRun kept_run = tiny_run(), run = tiny_run({"train.recompute=true"});
  const LoadedModel model = model_of(run);
  const Plan plan = make_plan(args_of(run, model));
  const int64_t kept = estimate_memory(args_of(kept_run, model), plan, 0).activation_bytes;

  const int64_t recomputed = estimate_memory(args_of(run, model), plan, 0).activation_bytes;

  EXPECT_EQ(kept - recomputed, recomputed_bytes(args_of(run, model), plan.stages[0]));
  EXPECT_LT(recomputed, kept * 3 / 4);
}

// Two versions of weights and the gradients stand wherever parameters are used; moments once.
TEST(EstimateProcesses, AddUpToTheStateAndWhatIsHeldTwice) {
  const Planned one(std::vector<std::string>{"parallel.data=2"});
  const Planned two(
      {"parallel.data=2", "parallel.expert=1", "cluster.nodes=2", "cluster.redundancy=0"});
  const ParameterCounts counts = count_parameters(one.model.model);
  const int64_t all = counts.total + counts.mtp, experts = 16 * 8 * counts.expert;

  const auto alone = estimate_processes(one.args, one.plan);
  const auto spread = estimate_processes(two.args, two.plan);

  ASSERT_EQ(alone.size(), 1u);
  EXPECT_EQ(alone[0].weight_bytes, 8 * all);
  ASSERT_EQ(spread.size(), 2u);
  EXPECT_EQ(spread[0].weight_bytes, 8 * all);
  EXPECT_EQ(spread[1].weight_bytes, 8 * (all - experts));
  EXPECT_EQ(spread[1].moment_bytes, 16 * (all - experts) / 2);
  EXPECT_EQ(spread[0].activation_bytes + spread[1].activation_bytes, alone[0].activation_bytes);
}

TEST(EstimateProcesses, ABuddyHoldsWhatItsWardDoesAndHearsItsGradients) {
  const Planned p({"parallel.data=2", "parallel.expert=1", "cluster.nodes=2", "cluster.redundancy=1"});
  const Planned without(
      {"parallel.data=2", "parallel.expert=1", "cluster.nodes=2", "cluster.redundancy=0"});
  const ParameterCounts counts = count_parameters(p.model.model);
  const int64_t all = counts.total + counts.mtp;

  const MemoryEstimate with_buddy = estimate_processes(p.args, p.plan)[1];
  const MemoryEstimate alone = estimate_processes(without.args, without.plan)[1];

  EXPECT_EQ(with_buddy.weight_bytes, 8 * all);
  EXPECT_EQ(with_buddy.moment_bytes, 16 * all);
  EXPECT_EQ(with_buddy.gradient_bytes, 8 * all);
  EXPECT_GT(with_buddy.arriving_bytes, alone.arriving_bytes);
}

TEST(EstimateProcesses, TheFirstHasTheWholeStateWhenItIsSaved) {
  const Planned p({"parallel.data=2", "cluster.nodes=2", "cluster.redundancy=0",
                   "checkpoint.every=10"});
  const ParameterCounts counts = count_parameters(p.model.model);

  const auto memory = estimate_processes(p.args, p.plan);

  EXPECT_EQ(memory[0].checkpoint_bytes, 12 * (counts.total + counts.mtp));
  EXPECT_EQ(memory[1].checkpoint_bytes, 0);
  EXPECT_EQ(memory[0].weight_bytes, 8 * (counts.total + counts.mtp));
}

TEST(EstimateProcesses, AfterTheLastStepACopyOfTheStateTakesThePlaceOfActivations) {
  const Planned every(std::vector<std::string>{"checkpoint.every=10"});
  const Planned last(std::vector<std::string>{});

  const MemoryEstimate during = estimate_processes(every.args, every.plan)[0];
  const MemoryEstimate behind = estimate_processes(last.args, last.plan)[0];

  EXPECT_EQ(behind.checkpoint_bytes,
            std::max(int64_t{0}, during.checkpoint_bytes - behind.activation_bytes -
                                     behind.scratch_bytes));
  EXPECT_EQ(behind.needed(), during.needed());
  EXPECT_LT(behind.total(), during.total());
}

TEST(EstimateProcesses, WhatIsNeededIsPartOfWhatIsTaken) {
  const Planned p(std::vector<std::string>{});
  const MemoryEstimate memory = estimate_processes(p.args, p.plan)[0];

  EXPECT_DOUBLE_EQ(memory.needed(),
                   static_cast<double>(memory.weight_bytes + memory.moment_bytes +
                                       memory.gradient_bytes + memory.activation_bytes +
                                       memory.scratch_bytes));
  EXPECT_DOUBLE_EQ(memory.total(),
                   memory.needed() + static_cast<double>(memory.buffer_bytes +
                                                         memory.checkpoint_bytes +
                                                         memory.base_bytes));
  EXPECT_THAT(describe_plan(p.args, p.plan), HasSubstr(", scratch "));
  EXPECT_THAT(describe_needed(memory), HasSubstr("MiB: weights 31.1 MiB, moments 62.3 MiB"));
}

TEST(EstimateProcesses, NothingArrivesWhereThereIsNobodyElse) {
  const Planned p(std::vector<std::string>{});

  EXPECT_EQ(estimate_processes(p.args, p.plan)[0].arriving_bytes, 0);
}

TEST(EstimateProcesses, ARankOfDualPipeHoldsTheActivationsOfItsTwoStages) {
  const auto activations = [](const std::string& schedule) {
    const Planned p({"parallel.pipeline=4", "parallel.data=1", "cluster.nodes=4",
                     "parallel.schedule=" + schedule});
    return static_cast<double>(estimate_processes(p.args, p.plan)[3].activation_bytes);
  };

  EXPECT_GT(activations("DUALPIPE"), activations("ONE_F_ONE_B") * 2);
}

TEST(CheckMemory, RefusesWhatTheMachineDoesNotHold) {
  const LoadedRun run = tiny_run({"model.file=config/models/deepseek_v3.textproto"});
  const LoadedModel model = model_of(run);
  const PlanArgs args{.run = run, .model = model, .cores = 1};
  const LoadedRun small_run = tiny_run();
  const LoadedModel small_model = model_of(small_run);
  const PlanArgs small{.run = small_run, .model = small_model, .cores = 1};
  const int64_t memory_bytes = int64_t{8} << 30;

  EXPECT_THAT(error_of([&] { check_memory(args, make_plan(args), memory_bytes); }),
              HasSubstr("model: found one that takes 27.3 TiB to train, wanted at most the 8.0 GiB "
                        "of this machine"));
  EXPECT_NO_THROW(check_memory(small, make_plan(small), memory_bytes));
}

}  // namespace
}  // namespace troupe::config
