#include "config/parameters.h"

#include <gtest/gtest.h>

#include "config/validate.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

// Source of the figures: arXiv:2412.19437 and arXiv:2505.09343, tables 1 and 2, recomputed.

TEST(Parameters, OfDeepSeekV3AreCountedToTheDigit) {
  const ParameterCounts counts = count_parameters(model_file("deepseek_v3").model);

  EXPECT_EQ(counts.total, 671'026'419'200);
  EXPECT_EQ(counts.routed, 653'908'770'816);
  EXPECT_EQ(counts.attention, 187'105'280 + 1536 + 512);
  EXPECT_EQ(counts.dense_mlp, 396'361'728);
  EXPECT_EQ(counts.expert, 44'040'192);
  EXPECT_EQ(counts.router, 1'835'008 + 256);
  EXPECT_EQ(counts.embedding, 926'679'040);
}

TEST(Parameters, ActivatedOnesOfDeepSeekV3AreThirtySevenBillion) {
  const ParameterCounts counts = count_parameters(model_file("deepseek_v3").model);

  EXPECT_EQ(counts.matmul, 36'624'596'992);
  EXPECT_NEAR(static_cast<double>(counts.activated), 37.552e9, 1e6);
  EXPECT_NEAR(static_cast<double>(counts.activated - counts.embedding), 36.626e9, 1e6);
}

TEST(Parameters, OfTheMtpLayerAreElevenBillion) {
  const ParameterCounts counts = count_parameters(model_file("deepseek_v3").model);

  EXPECT_NEAR(static_cast<double>(counts.mtp), 11.61e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(counts.mtp - 2LL * 7168 * 7168), 11.51e9, 0.005e9);
  Model without = model_file("deepseek_v3").model;
  without.set_mtp_layers(0);
  EXPECT_EQ(count_parameters(without).mtp, 0);
  EXPECT_EQ(count_parameters(without).total, counts.total);
}

TEST(Parameters, OfTheOtherModelsAreAsTheirFilesSay) {
  const auto total = [](const char* name) {
    return static_cast<double>(count_parameters(model_file(name).model).total);
  };

  EXPECT_NEAR(total("tiny"), 3.6e6, 0.1e6);
  EXPECT_NEAR(total("small"), 44e6, 1e6);
  EXPECT_NEAR(total("deepseek_16b"), 16e9, 0.5e9);
}

TEST(Parameters, OfLayersSumUpToTheTotal) {
  for (const char* name : {"tiny", "tiny_gqa", "tiny_mha"}) {
    const Model model = model_file(name).model;
    const ParameterCounts counts = count_parameters(model);
    int64_t sum = 2 * counts.embedding + model.hidden_size();

    for (int32_t layer = 0; layer < model.layers(); ++layer) sum += layer_parameters(model, layer);

    EXPECT_EQ(sum, counts.total) << name;
  }
}

// A baseline differs in its attention, not in how much there is of it.
TEST(Parameters, OfTheBaselinesAreTinysWithinTwoPercent) {
  const Model tiny = model_file("tiny").model;
  for (const char* name : {"tiny_gqa", "tiny_mha"}) {
    const Model model = model_file(name).model;
    EXPECT_NO_THROW(validate(model_file(name)));
    const auto near = [&](int64_t found, int64_t wanted) {
      EXPECT_NEAR(static_cast<double>(found), static_cast<double>(wanted),
                  0.02 * static_cast<double>(wanted))
          << name;
    };
    near(count_parameters(model).total, count_parameters(tiny).total);
    near(count_parameters(model).activated, count_parameters(tiny).activated);
    near(count_parameters(model).mtp, count_parameters(tiny).mtp);
  }
  EXPECT_EQ(count_parameters(model_file("tiny_gqa").model).attention, 2 * 128 * 20 * (4 + 2));
  EXPECT_EQ(count_parameters(model_file("tiny_mha").model).attention, 4 * 128 * 64);
}

TEST(Cache, OfDeepSeekV3IsSeventyKilobytesAToken) {
  EXPECT_EQ(cache_bytes_per_token(model_file("deepseek_v3").model, 2), 70'272);
}

TEST(Cache, OfTheBaselinesHoldsKeysAndValues) {
  EXPECT_EQ(cache_bytes_per_token(model_file("tiny").model, 4), 8 * 4 * (32 + 16));
  EXPECT_EQ(cache_bytes_per_token(model_file("tiny_gqa").model, 4), 8 * 4 * 2 * 2 * 20);
  EXPECT_EQ(cache_bytes_per_token(model_file("tiny_mha").model, 4), 8 * 4 * 2 * 4 * 16);
}

// Llama 3 70B (arXiv:2407.21783, table 3): 80 layers, 8 key heads of 128.
TEST(Cache, OfAPublishedGqaModelIsItsOwn) {
  Model model;
  model.set_attention(Model::GQA);
  model.set_layers(80);
  model.set_heads(64);
  model.set_kv_heads(8);
  model.set_head_dim(128);

  EXPECT_EQ(cache_bytes_per_token(model, 2), 327'680);
}

TEST(TrainFlops, OfAttentionAreThoseOfQueriesKeysAndValues) {
  const Model model = model_file("tiny_gqa").model;
  const double matrices = 6.0 * static_cast<double>(count_parameters(model).matmul);

  EXPECT_EQ(train_flops_per_token(model, 64, false) - matrices, 8 * 3.0 * 4 * 64 * 4 * 20);
}

TEST(TrainFlops, OfDeepSeekV3AreAsPublished) {
  const Model model = model_file("deepseek_v3").model;

  EXPECT_NEAR(train_flops_per_token(model, 4096, true), 250.450e9, 0.001e9);
  EXPECT_NEAR(train_flops_per_token(model, 4096, false), 281.152e9, 0.001e9);
}

TEST(TrainFlops, OfLayersAndHeadSumUpToTheTotal) {
  const Model model = model_file("deepseek_v3").model;
  double sum = head_train_flops_per_token(model);

  for (int32_t layer = 0; layer < model.layers(); ++layer) {
    sum += layer_train_flops_per_token(model, layer, 4096);
  }

  EXPECT_NEAR(sum, train_flops_per_token(model, 4096), 1e3);
}

// DeepSeek-V2: 235.74 billion parameters, 155 GFLOP a token.
TEST(TrainFlops, OfDeepSeekV2AreAsPublished) {
  Model model = model_file("deepseek_v3").model;
  model.set_vocab_size(102400);
  model.set_hidden_size(5120);
  model.set_layers(60);
  model.set_dense_layers(1);
  model.set_dense_intermediate_size(12288);
  model.set_expert_intermediate_size(1536);
  model.set_experts(160);
  model.set_shared_experts(2);
  model.set_experts_per_token(6);

  EXPECT_NEAR(static_cast<double>(count_parameters(model).total), 235.74e9, 0.01e9);
  EXPECT_EQ(count_parameters(model).matmul, 20'850'769'920);
  EXPECT_NEAR(train_flops_per_token(model, 4096), 155.304e9, 0.001e9);
}

}  // namespace
}  // namespace troupe::config
