#include "actors/model/tensors.h"

#include <gtest/gtest.h>

#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;

class Tensors : public testing::Test {
 protected:
  Tensors() : recipe_(small_recipe()), arena_(kernels::parameters(recipe_.shape)) {}

  const void* weight(const std::string& name, uint64_t state) const {
    return arena_.weight(arena_.index(name + ".weight"), state).data;
  }
  const void* sum(const std::string& name) {
    return arena_.gradient(arena_.index(name + ".weight"), 50, 1).sum.data;
  }

  Recipe recipe_;
  runtime::StateArena arena_;
};

TEST_F(Tensors, AreFoundUnderTheirHuggingFaceNames) {
  const ModelTensors tensors(arena_, recipe_);
  const StepView step{3, 50};

  EXPECT_EQ(tensors.attention(0, step).mla.kv_b.data,
            weight("model.layers.0.self_attn.kv_b_proj", 3));
  EXPECT_EQ(tensors.own_ffn(0, step).up.data, weight("model.layers.0.mlp.up_proj", 3));
  EXPECT_EQ(tensors.own_ffn(1, step).up.data,
            weight("model.layers.1.mlp.shared_experts.up_proj", 3));
  EXPECT_EQ(tensors.experts(1, 2, 1, step)[0].down.data,
            weight("model.layers.1.mlp.experts.2.down_proj", 3));
  EXPECT_EQ(tensors.gate(1, step).data, weight("model.layers.1.mlp.gate", 3));
  EXPECT_EQ(tensors.final_norm(-1, step).data, weight("model.norm", 3));
  EXPECT_EQ(tensors.final_norm(0, step).data, weight("model.layers.2.shared_head.norm", 3));
  EXPECT_EQ(tensors.mtp(0, step).eh_proj.data, weight("model.layers.2.eh_proj", 3));
  EXPECT_EQ(tensors.mtp(0, step).embedding.data, tensors.embedding(step).data);
  EXPECT_EQ(tensors.expert_gradients(2, 3, step).gate.sum.data,
            sum("model.layers.2.mlp.experts.3.gate_proj"));
}

TEST_F(Tensors, AStepReadsTheStateItNames) {
  const ModelTensors tensors(arena_, recipe_);

  EXPECT_EQ(tensors.head({4, 50}).data, weight("lm_head", 4));
  EXPECT_EQ(tensors.head({5, 50}).data, weight("lm_head", 5));
  EXPECT_NE(tensors.head({4, 50}).data, tensors.head({5, 50}).data);
}

TEST_F(Tensors, AStepReadsTheEmaWhereItSaysSo) {
  runtime::StateArena arena(kernels::parameters(recipe_.shape), {.has_ema = true});
  const ModelTensors tensors(arena, recipe_);

  EXPECT_EQ(tensors.head({.state = 5, .scale_bits = 50, .reads_ema = true}).data,
            arena.ema(arena.index("lm_head.weight"), 5).data);
  EXPECT_EQ(tensors.head({.state = 5, .scale_bits = 50}).data,
            arena.weight(arena.index("lm_head.weight"), 5).data);
}

TEST_F(Tensors, OfGroupedAttentionAreItsFourProjections) {
  recipe_.shape = small_gqa_shape(4, 2);
  runtime::StateArena arena(kernels::parameters(recipe_.shape));
  const ModelTensors tensors(arena, recipe_);
  const auto attention = tensors.attention(1, {0, 50});

  for (const auto& [name, tensor] :
       {std::pair{"q_proj", attention.gqa.q}, std::pair{"k_proj", attention.gqa.k},
        std::pair{"v_proj", attention.gqa.v}, std::pair{"o_proj", attention.gqa.o}}) {
    const std::string whole = std::string("model.layers.1.self_attn.") + name + ".weight";
    EXPECT_EQ(tensor.data, arena.weight(arena.index(whole), 0).data) << name;
  }
  EXPECT_EQ(attention.mla.q_b.data, nullptr);
  EXPECT_EQ(attention.mla.o.data, nullptr);
  EXPECT_EQ(tensors.attention(1, {0, 50}).mla.kv_b.data, nullptr);
  EXPECT_TRUE(tensors.attention_gradients(2, {0, 50}).gqa.k.is_wanted());
}

// Sum law: what MTP shares gets a unit from each of its sites.
TEST_F(Tensors, SharedTensorsExpectMoreUnits) {
  const ModelTensors tensors(arena_, recipe_);
  const StepView step{.state = 0, .scale_bits = 42, .micro_batches = 3};

  EXPECT_EQ(tensors.head_gradient(-1, step).units, 6);
  EXPECT_EQ(tensors.embedding_gradient(step).units, 6);
  EXPECT_EQ(tensors.mtp_gradients(0, step).embedding.units, 6);
  EXPECT_EQ(tensors.mtp_gradients(0, step).eh_proj.units, 3);
  EXPECT_EQ(tensors.gate_gradient(1, step).units, 3);
  EXPECT_EQ(tensors.gate_gradient(1, step).scale_bits, 42);
}

TEST_F(Tensors, WhatAModelLacksHasNoData) {
  recipe_.shape.q_lora = 0;
  recipe_.shape.shared_experts = 0;
  runtime::StateArena arena(kernels::parameters(recipe_.shape));
  const ModelTensors tensors(arena, recipe_);
  const StepView step{0, 50};

  EXPECT_EQ(tensors.attention(0, step).mla.q_a.data, nullptr);
  EXPECT_NE(tensors.attention(0, step).mla.q_b.data, nullptr);
  EXPECT_FALSE(tensors.attention_gradients(0, step).mla.q_a_norm.is_wanted());
  EXPECT_TRUE(tensors.has_own_ffn(0));
  EXPECT_FALSE(tensors.has_own_ffn(1));
}

}  // namespace
}  // namespace troupe::tests
