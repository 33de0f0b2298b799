#include "kernels/layers/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/small_model.h"

namespace troupe::tests {
namespace {

using namespace kernels;

int64_t total(const std::vector<ParameterSpec>& specs) {
  int64_t n = 0;
  for (const ParameterSpec& spec : specs) n += spec.count();
  return n;
}

std::vector<std::string> names(const std::vector<ParameterSpec>& specs) {
  std::vector<std::string> out;
  for (const ParameterSpec& spec : specs) out.push_back(spec.name);
  return out;
}

// The released checkpoint's 671,026,419,200 are these and 58 routing biases of 256, which are not
// trained.
TEST(Params, DeepSeekV3Has671BillionParameters) {
  ModelShape shape = deepseek_v3_shape();
  shape.mtp_layers = 0;

  EXPECT_EQ(total(parameters(shape)), 671'026'419'200 - 58 * 256);
}

// The module's own parameters: the report's 11.5 billion, without the shared embedding and head.
TEST(Params, AnMtpModuleAddsOneLayerAndItsJoint) {
  ModelShape shape = deepseek_v3_shape();
  const int64_t with = total(parameters(shape));
  shape.mtp_layers = 0;
  const int64_t without = total(parameters(shape));
  shape.layers += 1;
  const int64_t one_more_layer = total(parameters(shape));

  EXPECT_EQ(with - without, one_more_layer - without + 2 * 7168 * 7168 + 3 * 7168);
}

TEST(Params, NamesAndShapesAreThoseOfTheReleasedCheckpoint) {
  const auto specs = parameters(deepseek_v3_shape());
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ParameterSpec& spec : specs) shapes[spec.name] = spec.shape;

  EXPECT_EQ(shapes.size(), specs.size()) << "a name stands twice";
  const std::map<std::string, std::vector<int64_t>> some{
      {"model.embed_tokens.weight", {129280, 7168}},
      {"model.layers.0.input_layernorm.weight", {7168}},
      {"model.layers.0.self_attn.q_a_proj.weight", {1536, 7168}},
      {"model.layers.0.self_attn.q_a_layernorm.weight", {1536}},
      {"model.layers.0.self_attn.q_b_proj.weight", {24576, 1536}},
      {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", {576, 7168}},
      {"model.layers.0.self_attn.kv_a_layernorm.weight", {512}},
      {"model.layers.0.self_attn.kv_b_proj.weight", {32768, 512}},
      {"model.layers.0.self_attn.o_proj.weight", {7168, 16384}},
      {"model.layers.0.post_attention_layernorm.weight", {7168}},
      {"model.layers.2.mlp.gate_proj.weight", {18432, 7168}},
      {"model.layers.2.mlp.down_proj.weight", {7168, 18432}},
      {"model.layers.3.mlp.gate.weight", {256, 7168}},
      {"model.layers.3.mlp.experts.255.up_proj.weight", {2048, 7168}},
      {"model.layers.60.mlp.experts.0.down_proj.weight", {7168, 2048}},
      {"model.layers.60.mlp.shared_experts.gate_proj.weight", {2048, 7168}},
      {"model.layers.61.enorm.weight", {7168}},
      {"model.layers.61.hnorm.weight", {7168}},
      {"model.layers.61.eh_proj.weight", {7168, 14336}},
      {"model.layers.61.shared_head.norm.weight", {7168}},
      {"model.norm.weight", {7168}},
      {"lm_head.weight", {129280, 7168}}};
  for (const auto& [name, shape] : some) EXPECT_EQ(shapes[name], shape) << name;
  EXPECT_FALSE(shapes.contains("model.layers.3.mlp.gate_proj.weight"));
  EXPECT_FALSE(shapes.contains("model.layers.2.mlp.gate.weight"));
  EXPECT_EQ(routing_bias_name(3), "model.layers.3.mlp.gate.e_score_correction_bias");
}

TEST(Params, WithoutAQueryRankThereIsOneQueryProjection) {
  ModelShape shape = small_shape();
  shape.q_lora = 0;
  shape.shared_experts = 0;

  const auto found = names(parameters(shape));

  EXPECT_THAT(found, testing::Contains("model.layers.0.self_attn.q_proj.weight"));
  EXPECT_THAT(found, testing::Each(testing::Not(testing::HasSubstr("q_a_"))));
  EXPECT_THAT(found, testing::Each(testing::Not(testing::HasSubstr("shared_experts"))));
}

TEST(Params, GroupedAttentionHasTheFourProjectionsOfLlama) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ParameterSpec& spec : parameters(small_gqa_shape(6, 2))) shapes[spec.name] = spec.shape;

  const std::string attention = "model.layers.1.self_attn.";
  EXPECT_EQ(shapes[attention + "q_proj.weight"], (std::vector<int64_t>{36, 12}));
  EXPECT_EQ(shapes[attention + "k_proj.weight"], (std::vector<int64_t>{12, 12}));
  EXPECT_EQ(shapes[attention + "v_proj.weight"], (std::vector<int64_t>{12, 12}));
  EXPECT_EQ(shapes[attention + "o_proj.weight"], (std::vector<int64_t>{12, 36}));
  EXPECT_TRUE(shapes.contains("model.layers.1.input_layernorm.weight"));
  EXPECT_TRUE(shapes.contains("model.layers.1.post_attention_layernorm.weight"));
  for (const auto& [name, shape] : shapes) EXPECT_EQ(name.find("_a_"), std::string::npos) << name;
}

// Law 5: two tensors on one stream would begin with the same numbers.
TEST(Params, NoTwoTensorsOfDeepSeekV3ShareAStream) {
  std::map<std::pair<float, float>, std::string> seen;
  for (const ParameterSpec& spec : parameters(deepseek_v3_shape())) {
    if (spec.initial != Initial::normal) continue;
    const std::pair<float, float> begin{initial_value(spec, 1, 0.006f, 0),
                                        initial_value(spec, 1, 0.006f, 1)};
    const auto [other, is_new] = seen.emplace(begin, spec.name);
    EXPECT_TRUE(is_new) << spec.name << " begins as " << other->second;
  }
}

TEST(Params, MatricesBeginNormalAndNormsAtOne) {
  const ParameterSpec matrix{"lm_head.weight", {100, 500}, Initial::normal};
  const ParameterSpec norm{"model.norm.weight", {7}, Initial::ones};
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < matrix.count(); ++i) {
    const double x = initial_value(matrix, 3, 0.02f, i);
    sum += x / 0.02;
    squares += x * x / (0.02 * 0.02);
  }

  const double n = static_cast<double>(matrix.count());
  EXPECT_NEAR(sum / n, 0, 4 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 4 * std::sqrt(2 / n));
  EXPECT_EQ(initial_value(norm, 3, 0.02f, 6), 1.0f);
  EXPECT_FALSE(norm.is_matrix());
  EXPECT_TRUE(matrix.is_matrix());
}

TEST(Params, InitialValuesDependOnSeedNameAndElementAlone) {
  const ParameterSpec a{"a", {8, 4}, Initial::normal}, other_shape{"a", {2, 16}, Initial::normal};
  const ParameterSpec b{"b", {8, 4}, Initial::normal};

  EXPECT_EQ(initial_value(a, 1, 0.02f, 5), initial_value(other_shape, 1, 0.02f, 5));
  EXPECT_NE(initial_value(a, 1, 0.02f, 5), initial_value(b, 1, 0.02f, 5));
  EXPECT_NE(initial_value(a, 1, 0.02f, 5), initial_value(a, 2, 0.02f, 5));
  EXPECT_NE(initial_value(a, 1, 0.02f, 5), initial_value(a, 1, 0.02f, 6));
}

}  // namespace
}  // namespace troupe::tests
