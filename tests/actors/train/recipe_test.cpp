#include "actors/train/recipe.h"

#include <gtest/gtest.h>

#include <cmath>

#include "actors/train/timeline.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;

TEST(Recipe, TakesTheNumbersOfTheRun) {
  config::Run run;
  run.mutable_data()->set_seq_len(64);
  config::Train& train = *run.mutable_train();
  train.set_steps(200);
  train.set_seed(3);
  train.set_micro_batch(4);
  train.set_micro_batches(6);
  train.set_mtp_weight(0.1);
  train.set_fixed_point_bits(48);
  train.set_on_nan(config::Train::SKIP);
  train.mutable_optimizer()->set_lr(0.5);
  train.mutable_routing()->set_gamma(0.25);
  train.mutable_routing()->set_balance(config::Routing::MICRO_BATCH);
  train.mutable_routing()->set_balance_alpha(0.125);

  const Recipe recipe = make_recipe(run, small_shape());

  EXPECT_EQ(recipe.steps, 200);
  EXPECT_EQ(recipe.seed, 3u);
  EXPECT_EQ(Timeline(recipe).at(1).tokens(), 1536);
  EXPECT_EQ(recipe.optimizer.lr(), 0.5);
  EXPECT_EQ(recipe.gamma, 0.25);
  EXPECT_EQ(recipe.balance, Balance::micro_batch);
  EXPECT_EQ(recipe.balance_alpha, 0.125);
  EXPECT_EQ(recipe.mtp_weight, 0.1);
  EXPECT_EQ(recipe.scale_bits, 48);
  EXPECT_EQ(recipe.on_nan, OnNan::skip);
  EXPECT_EQ(recipe.shape.experts, small_shape().experts);
}

TEST(Recipe, WhatARunLeavesOutHasTheDocumentedDefault) {
  config::Run run;

  const Recipe recipe = make_recipe(run, small_shape());

  EXPECT_EQ(recipe.scale_bits, 50);
  EXPECT_EQ(recipe.on_nan, OnNan::stop);
  EXPECT_EQ(recipe.balance, Balance::sequence);
  EXPECT_EQ(recipe.mtp_weight, 0.3);
  EXPECT_EQ(recipe.optimizer.beta2(), 0.95);
}

TEST(Recipe, Fp8IsPromotedUnlessTheRunSaysNever) {
  config::Run run;
  const auto precision = [&] { return make_recipe(run, small_shape()).precision; };
  run.mutable_train()->set_precision(config::Train::FP8);
  EXPECT_EQ(precision(), kernels::Precision::fp8);

  run.mutable_train()->set_promotion(config::Train::NEVER);

  EXPECT_EQ(precision(), kernels::Precision::fp8_unpromoted);
}

TEST(Recipe, MtpModulesCountAsMoeLayers) {
  Recipe recipe = small_recipe();

  EXPECT_EQ(recipe.moe_layers(), 2);
  recipe.shape.mtp_layers = 0;
  EXPECT_EQ(recipe.moe_layers(), 1);
}

config::Optimizer decaying(config::Optimizer::Decay decay) {
  config::Optimizer optimizer;
  optimizer.set_lr(1.0);
  optimizer.set_final_lr(0.2);
  optimizer.set_warmup_steps(10);
  optimizer.set_decay(decay);
  return optimizer;
}

TEST(LearningRate, RisesOverTheWarmUp) {
  const auto optimizer = decaying(config::Optimizer::CONSTANT);

  EXPECT_DOUBLE_EQ(learning_rate(optimizer, 1, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(optimizer, 9, 110), 0.9);
  EXPECT_EQ(learning_rate(optimizer, 10, 110), 1.0);
  EXPECT_EQ(learning_rate(optimizer, 110, 110), 1.0);
}

TEST(LearningRate, FallsToItsLastValueAtTheLastStep) {
  const auto line = decaying(config::Optimizer::LINEAR), wave = decaying(config::Optimizer::COSINE);

  EXPECT_EQ(learning_rate(line, 10, 110), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(line, 35, 110), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate(line, 110, 110), 0.2);
  EXPECT_EQ(learning_rate(wave, 10, 110), 1.0);
  EXPECT_NEAR(learning_rate(wave, 35, 110), 0.2 + 0.4 * (1 + std::cos(0.25 * M_PI)), 1e-15);
  EXPECT_NEAR(learning_rate(wave, 60, 110), 0.6, 1e-15);
  EXPECT_NEAR(learning_rate(wave, 110, 110), 0.2, 1e-15);
  EXPECT_NEAR(learning_rate(wave, 200, 110), 0.2, 1e-15) << "behind the end";
}

TEST(LearningRate, StaysAtThePeakIfTheRunIsAllWarmUp) {
  EXPECT_EQ(learning_rate(decaying(config::Optimizer::COSINE), 10, 10), 1.0);
}

TEST(LearningRate, NeedsNoWarmUp) {
  auto optimizer = decaying(config::Optimizer::CONSTANT);
  optimizer.set_warmup_steps(0);

  EXPECT_EQ(learning_rate(optimizer, 1, 5), 1.0);
}

}  // namespace
}  // namespace troupe::tests
