#include "config/plan/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/parameters.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::HasSubstr;

TEST(DescribePlan, PrintsTheParametersAndThePlacementOfDeepSeekV3) {
  const LoadedRun run =
      tiny_run({"model.file=config/models/deepseek_v3.textproto", "data.seq_len=4096",
                "parallel.pipeline=16", "parallel.data=8", "parallel.expert=8"});
  const LoadedModel model = model_of(run);
  const PlanArgs args{.run = run, .model = model, .cores = 2};

  const std::string text = describe_plan(args, make_plan(args));

  EXPECT_THAT(text, HasSubstr("671,026,419,200 total"));
  EXPECT_THAT(text, HasSubstr("68.6 KiB a token"));
  EXPECT_THAT(text, HasSubstr("250.4 GFLOP"));
  EXPECT_THAT(text, HasSubstr("16 pipeline x 8 data = 128 workers"));
  EXPECT_THAT(text, HasSubstr("expert 7  experts 224 to 255"));
  EXPECT_THAT(text, HasSubstr("step time   not predicted"));
}

TEST(DescribePlan, NamesTheHeadsOfAModelWithoutMla) {
  const auto text_of = [](const std::string& file) {
    const LoadedRun run = tiny_run({"model.file=config/models/" + file});
    const LoadedModel model = model_of(run);
    const PlanArgs args{.run = run, .model = model, .cores = 2};
    return describe_plan(args, make_plan(args));
  };

  EXPECT_THAT(text_of("tiny_gqa.textproto"), HasSubstr("4 heads on 2 of keys (GQA), 16 experts"));
  EXPECT_THAT(text_of("tiny_mha.textproto"), HasSubstr("4 heads on 4 of keys (MHA), 16 experts"));
  EXPECT_THAT(text_of("tiny.textproto"), HasSubstr("4 heads, 16 experts"));
}

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

TEST(CheckMemory, RefusesWhatTheMachineDoesNotHold) {
  const LoadedRun run = tiny_run({"model.file=config/models/deepseek_v3.textproto"});
  const LoadedModel model = model_of(run);
  const PlanArgs args{.run = run, .model = model, .cores = 1};
  const LoadedRun small_run = tiny_run();
  const LoadedModel small_model = model_of(small_run);
  const PlanArgs small{.run = small_run, .model = small_model, .cores = 1};
  const int64_t memory_bytes = int64_t{8} << 30;

  EXPECT_THAT(error_of([&] { check_memory(args, make_plan(args), memory_bytes); }),
              HasSubstr("model: found one that takes 19.9 TiB to train, wanted at most the 8.0 GiB "
                        "of this machine"));
  EXPECT_NO_THROW(check_memory(small, make_plan(small), memory_bytes));
}

}  // namespace
}  // namespace troupe::config
