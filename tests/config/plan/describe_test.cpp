#include "config/plan/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/config/plan/planned.h"

namespace troupe::config {
namespace {

using testing::HasSubstr;

TEST(DescribePlan, PrintsTheParametersAndThePlacementOfDeepSeekV3) {
  const Planned p({"model.file=config/models/deepseek_v3.textproto", "data.seq_len=4096",
                   "parallel.pipeline=16", "parallel.data=8", "parallel.expert=8"});

  const std::string text = describe_plan(p.args, p.plan);

  EXPECT_THAT(text, HasSubstr("671,026,419,200 total"));
  EXPECT_THAT(text, HasSubstr("68.6 KiB a token"));
  EXPECT_THAT(text, HasSubstr("250.4 GFLOP"));
  EXPECT_THAT(text, HasSubstr("16 pipeline x 8 data = 128 workers in 1 process"));
  EXPECT_THAT(text, HasSubstr("expert 7  experts 224 to 255"));
  EXPECT_THAT(text, HasSubstr("step time   not predicted"));
}

// The report's own plan on 2,048 devices: 16 stages, 128 data workers, experts over 64, DualPipe.
TEST(DescribePlan, PlansDeepSeekV3AsTheReportDoesInLessThanASecond) {
  const auto begin = std::chrono::steady_clock::now();
  const Planned p(load_run(source_file("config/runs/deepseek_v3_plan.textproto")));

  const std::string text = describe_plan(p.args, p.plan, MachineRates{430e12, 50e9});

  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_THAT(text, HasSubstr("16 pipeline x 128 data = 2048 workers in 2048 processes, 1 thread "
                              "each; DUALPIPE; 1 attention, 2 x 64 expert, 2048 optimizer shards; "
                              "redundancy 1: a buddy on another node"));
  EXPECT_THAT(text, HasSubstr("step        15360 micro-batches"));
  EXPECT_THAT(text,
              HasSubstr("rank 15    stages 0 and 15: 128 workers with 1 attention shard each, "
                        "in processes 1920 to 2047"));
  EXPECT_THAT(text, HasSubstr("experts 252 to 255 of every MoE layer"));
  EXPECT_THAT(text, HasSubstr("optimizer 2047  in process 2047"));
  EXPECT_THAT(text, HasSubstr("if a process reaches 4.3e+05 GFLOP/s and sends 50 GB/s"));
}

TEST(DescribePlan, NamesTheHeadsOfAModelWithoutMla) {
  const auto text_of = [](const std::string& file) {
    const Planned p({"model.file=config/models/" + file});
    return describe_plan(p.args, p.plan);
  };

  EXPECT_THAT(text_of("tiny_gqa.textproto"), HasSubstr("4 heads on 2 of keys (GQA), 16 experts"));
  EXPECT_THAT(text_of("tiny_mha.textproto"), HasSubstr("4 heads on 4 of keys (MHA), 16 experts"));
  EXPECT_THAT(text_of("tiny.textproto"), HasSubstr("4 heads, 16 experts"));
}

TEST(DescribePlan, SaysWhatEachProcessHoldsAndSends) {
  const Planned p({"parallel.pipeline=2", "parallel.data=2", "parallel.expert=2", "cluster.nodes=4",
                   "parallel.schedule=DUALPIPE_V", "train.micro_batches=16"});

  const std::string text = describe_plan(p.args, p.plan, MachineRates{1e9, 0});

  EXPECT_THAT(text, HasSubstr("1 ranks of the pipeline x 2 data = 2 workers in 4 processes"));
  EXPECT_THAT(text, HasSubstr("rank 0    stages 0 and 1: 2 workers"));
  EXPECT_THAT(text, HasSubstr("  process 3  "));
  EXPECT_THAT(text, HasSubstr("a step between processes: stages 0 B, rows of experts "));
  EXPECT_THAT(text, HasSubstr("if a process reaches 1 GFLOP/s; transfers take no time"));
}

}  // namespace
}  // namespace troupe::config
