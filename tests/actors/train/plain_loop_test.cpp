#include "actors/train/plain_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "actors/train/apply_block.h"
#include "kernels/ops/fixed_point.h"
#include "runtime/state/hash.h"
#include "tests/actors/train/reference_model.h"
#include "tests/actors/train/small_recipe.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace actors;
using kernels::cpu::Isa;

/// A run from its first state, in `threads` threads.
class SmallRun {
 public:
  explicit SmallRun(const Recipe& recipe, int threads = 2)
      : recipe_(recipe), arena(kernels::parameters(recipe.shape), state_format(recipe)), pool_(threads), queue(pool_),
        loop((runtime::initialise(arena, recipe.seed, recipe.shape.init_std), arena), recipe,
             queue) {}

  wire::StepRecord step(std::span<const int> order = {}) {
    return loop.step(learnable_batches(recipe_, loop.steps_done() + 1), order);
  }
  uint64_t hash_after(int steps, std::span<const int> order = {}) {
    for (int i = 0; i < steps; ++i) step(order);
    return loop.hash();
  }

 private:
  const Recipe recipe_;

 public:
  runtime::StateArena arena;

 private:
  kernels::ThreadPool pool_;

 public:
  kernels::Queue queue;
  PlainLoop loop;
};

Weights weights_of(runtime::StateArena& arena) {
  Weights out;
  for (int t = 0; t < arena.tensors(); ++t) out[arena.spec(t).name] = to_doubles(arena.weight(t, 0));
  return out;
}

TEST(PlainLoop, LossesAreThoseOfTheReferenceModel) {
  const Recipe recipe = small_recipe();
  SmallRun run(recipe);
  const auto batches = learnable_batches(recipe, 1);
  const Weights weights = weights_of(run.arena);
  const Doubles bias(8, 0.0);

  const wire::StepRecord record = run.loop.step(batches);

  const auto expected = ReferenceModel(recipe, weights, bias).losses(batches);
  EXPECT_NEAR(record.loss(), expected.main, 2e-6);
  EXPECT_NEAR(record.mtp_loss(0), expected.mtp, 2e-6);
  EXPECT_NEAR(record.balance_loss(), expected.balance, 2e-8);
}

/// Gradients of up to `most` elements of every tensor, against central differences of the whole
/// reference model: what the parts' own tests cannot see is how they are joined.
void expect_derivatives_of_the_whole(const Recipe& recipe) {
  SmallRun run(recipe);
  const auto batches = learnable_batches(recipe, 1);
  Weights weights = weights_of(run.arena);
  if (recipe.moe_layers() > 0) {
    run.loop.bias().values[1] = 0.05f;
    run.loop.bias().values.back() = -0.05f;
  }
  const Doubles bias(run.loop.bias().values.begin(), run.loop.bias().values.end());
  ReferenceModel model(recipe, weights, bias);
  constexpr size_t most = 7;

  const StepSums sums =
      run.loop.gradients(batches, {}, {.step = 1, .epoch = {}, .scale_bits = recipe.scale_bits});

  ASSERT_EQ(sums.faults, 0u);
  for (int t = 0; t < run.arena.tensors(); ++t) {
    Doubles& w = weights[run.arena.spec(t).name];
    const auto* sum = kernels::values<int64_t>(run.arena.tensor_gradient(t));
    Doubles found, expected;
    for (size_t i = 0; i < w.size(); i += std::max<size_t>(1, w.size() / most)) {
      const double at = w[i], h = 1e-5;
      w[i] = at + h;
      const double above = model.total(batches);
      w[i] = at - h;
      const double below = model.total(batches);
      w[i] = at;
      expected.push_back((above - below) / (2 * h));
      found.push_back(std::ldexp(static_cast<double>(sum[i]), -recipe.scale_bits));
    }
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], 2e-7 + 3e-5 * std::fabs(expected[i]))
          << run.arena.spec(t).name << ", sampled element " << i;
    }
  }
}

TEST(PlainLoop, GradientsAreTheDerivativesOfTheWholeModel) {
  expect_derivatives_of_the_whole(small_recipe());
}

TEST(PlainLoop, GradientsAreSoWithYarnAndWithoutQueryRankAndMtp) {
  Recipe recipe = small_recipe();
  recipe.shape.yarn = small_yarn();
  recipe.shape.q_lora = 0;
  recipe.shape.mtp_layers = 0;
  recipe.shape.normalize_top_k = false;
  expect_derivatives_of_the_whole(recipe);
}

TEST(PlainLoop, GradientsAreSoWithoutSharedExpertsAndWithTheBalanceOfMicroBatches) {
  Recipe recipe = small_recipe();
  recipe.shape.shared_experts = 0;
  recipe.balance = Balance::micro_batch;
  recipe.balance_alpha = 0.5;
  expect_derivatives_of_the_whole(recipe);
}

TEST(PlainLoop, GradientsAreSoWithGroupedQueryAttention) {
  Recipe recipe = small_recipe();
  recipe.shape = small_gqa_shape(4, 2);
  expect_derivatives_of_the_whole(recipe);
}

TEST(PlainLoop, GradientsAreSoOfADenseModel) {
  for (const bool is_grouped : {false, true}) {
    Recipe recipe = small_recipe();
    if (is_grouped) recipe.shape = small_gqa_shape(2, 2);
    recipe.shape.dense_layers = recipe.shape.layers;
    recipe.shape.mtp_layers = 0;
    expect_derivatives_of_the_whole(recipe);
  }
}

// Laws 1 and 2: neither threads nor the order of micro-batches nor a second run shows.
TEST(PlainLoop, ThreadsAndOrderDoNotShow) {
  const Recipe recipe = small_recipe();
  const uint64_t hash = SmallRun(recipe, 1).hash_after(3);

  EXPECT_EQ(SmallRun(recipe, 1).hash_after(3), hash) << "repeated";
  EXPECT_EQ(SmallRun(recipe, 2).hash_after(3), hash);
  EXPECT_EQ(SmallRun(recipe, 4).hash_after(3), hash);
  EXPECT_EQ(SmallRun(recipe, 2).hash_after(3, std::vector<int>{2, 0, 1}), hash);
  EXPECT_EQ(SmallRun(recipe, 4).hash_after(3, std::vector<int>{1, 2, 0}), hash);
  Recipe other = recipe;
  other.seed = 6;
  EXPECT_NE(SmallRun(other, 1).hash_after(3), hash) << "the hash does not see the run";
}

// Law 1: the arithmetic `cpu` has one result on every instruction set.
TEST(PlainLoop, InstructionSetsDoNotShow) {
  const IsaGuard guard;
  const Recipe recipe = small_recipe();
  const uint64_t hash = SmallRun(recipe).hash_after(2);

  for (const Isa isa : kernels::cpu::available_isas()) {
    kernels::cpu::force_isa(isa);
    EXPECT_EQ(SmallRun(recipe).hash_after(2), hash) << to_string(isa);
  }
}

// The arithmetic `cpu.1` is frozen: a change of these bits needs another version.
TEST(PlainLoop, ThreeStepsGiveTheBitsOnRecord) {
  EXPECT_EQ(runtime::to_hex(SmallRun(small_recipe()).hash_after(3)), "33735306e39f1a09");
}

// bf16 moments and an EMA are other states; the EMA alone changes no weight.
TEST(PlainLoop, MomentsAndEmaArePartOfTheHash) {
  Recipe bf16 = small_recipe(), ema = small_recipe(), other = small_recipe();
  bf16.optimizer.set_moments(config::Optimizer::BF16);
  ema.optimizer.set_ema_decay(0.9);
  other.optimizer.set_ema_decay(0.99);
  SmallRun plain(small_recipe()), average(ema);
  const std::set<uint64_t> hashes{plain.hash_after(3), average.hash_after(3),
                                  SmallRun(bf16).hash_after(3), SmallRun(other).hash_after(3)};

  EXPECT_EQ(hashes.size(), 4u);
  EXPECT_EQ(SmallRun(bf16, 4).hash_after(3, std::vector<int>{2, 0, 1}),
            SmallRun(bf16, 1).hash_after(3));
  for (int t = 0; t < plain.arena.tensors(); ++t) {
    EXPECT_TRUE(same_bits(to_vector(plain.arena.weight(t, 3)), to_vector(average.arena.weight(t, 3))));
  }
}

// Begins at the initial weights, and takes 1 - ema_decay of the new ones in each step.
TEST(PlainLoop, TheEmaIsThatOfTheWeightsOfEveryState) {
  Recipe recipe = small_recipe();
  recipe.optimizer.set_ema_decay(0.75);
  SmallRun run(recipe);
  const int tensor = run.arena.index("lm_head.weight");
  std::vector<double> wanted = to_doubles(run.arena.weight(tensor, 0));

  for (uint64_t step = 1; step <= 5; ++step) {
    run.step();
    const auto weight = to_doubles(run.arena.weight(tensor, step));
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = 0.75 * wanted[i] + 0.25 * weight[i];
  }

  const auto found = to_doubles(run.arena.ema(tensor, 5));
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-7);
}

TEST(PlainLoop, LearnsATextThatCanBeLearned) {
  SmallRun run(small_recipe());
  const double first = run.step().loss();
  double last = 0;
  for (int i = 0; i < 99; ++i) last = run.step().loss();

  EXPECT_NEAR(first, std::log(23.0), 0.5);
  EXPECT_LT(last, 0.5 * first);
}

TEST(PlainLoop, CountsTokensStepsAndLoads) {
  const Recipe recipe = small_recipe();
  SmallRun run(recipe);

  run.step();
  const wire::StepRecord record = run.step();

  EXPECT_EQ(record.step(), 2u);
  EXPECT_EQ(run.loop.consumed_tokens(), 2u * 48);
  ASSERT_EQ(record.loads_size(), 2);
  int64_t main = 0, mtp = 0;
  for (int e = 0; e < 4; ++e) {
    main += record.loads(0).rows(e);
    mtp += record.loads(1).rows(e);
  }
  EXPECT_EQ(main, 48 * recipe.shape.top_k);
  EXPECT_EQ(mtp, 42 * recipe.shape.top_k);
  EXPECT_EQ(run.loop.bias().version, 2u);
}

// Sum law: a unit out of range repeats this step with s - 8, and this step alone.
TEST(PlainLoop, AUnitOutOfRangeRepeatsTheStepWithFewerBits) {
  Recipe wide = small_recipe(), narrow = small_recipe();
  wide.scale_bits = 62;
  narrow.scale_bits = 54;
  SmallRun repeated(wide), direct(narrow);

  const wire::StepRecord record = repeated.step();
  direct.step();

  EXPECT_EQ(record.scale_bits(), 54);
  EXPECT_EQ(record.epoch().n(), 1u);
  EXPECT_TRUE(record.apply());
  EXPECT_EQ(repeated.loop.hash(), direct.loop.hash());
}

void spoil(SmallRun& run) {
  const auto weight = run.arena.mutable_weight(run.arena.index("model.norm.weight"), 0);
  kernels::values<float>(weight)[3] = NAN;
}

TEST(PlainLoop, NanThatStaysStopsTheRunAndChangesNothing) {
  SmallRun run(small_recipe());
  spoil(run);
  const uint64_t before = run.loop.hash();

  EXPECT_THROW(run.step(), runtime::StateError);

  EXPECT_EQ(run.loop.steps_done(), 0u);
  EXPECT_EQ(run.loop.hash(), before);
}

TEST(PlainLoop, NanThatStaysIsSkippedIfTheRecipeSaysSo) {
  Recipe recipe = small_recipe();
  recipe.on_nan = OnNan::skip;
  SmallRun run(recipe);
  spoil(run);
  std::vector<uint64_t> before;
  for (size_t id = 0; id < run.arena.blocks().size(); ++id) {
    before.push_back(runtime::block_hash(run.arena, static_cast<int64_t>(id), 0));
  }

  const wire::StepRecord record = run.step();

  EXPECT_FALSE(record.apply());
  EXPECT_EQ(record.epoch().n(), 1u) << "it is repeated once";
  EXPECT_EQ(run.loop.steps_done(), 1u);
  EXPECT_THAT(record.bias(), testing::Each(0.0f));
  for (size_t id = 0; id < before.size(); ++id) {
    EXPECT_EQ(runtime::block_hash(run.arena, static_cast<int64_t>(id), 1), before[id]);
  }
}

// Commit law: an apply that was interrupted goes on at the first block without the new stamp.
TEST(PlainLoop, AnInterruptedApplyGoesOnToTheSameBits) {
  Recipe recipe = small_recipe();
  recipe.optimizer.set_moments(config::Optimizer::BF16);
  recipe.optimizer.set_ema_decay(0.9);
  SmallRun whole(recipe), interrupted(recipe);
  const uint64_t hash = whole.hash_after(2);
  interrupted.step();
  const auto batches = learnable_batches(recipe, 2);
  const Attempt attempt{.step = 2, .epoch = {}, .scale_bits = recipe.scale_bits};
  const StepSums sums = interrupted.loop.gradients(batches, {}, attempt);
  const wire::StepRecord record = make_record({.recipe = recipe,
                                               .attempt = attempt,
                                               .numbers = Timeline(recipe).at(2),
                                               .trend = {},
                                               .bias = interrupted.loop.bias(),
                                               .sums = sums});
  for (int64_t id = 0; id < 20; ++id) {
    const auto& spec =
        interrupted.arena.spec(interrupted.arena.blocks()[static_cast<size_t>(id)].tensor);
    apply_block(interrupted.queue, interrupted.arena,
                {id, 2, true, adamw_step(recipe, record), weight_decay(recipe, spec),
                 ema_rate(recipe), recipe.scale_bits});
  }
  interrupted.queue.wait();

  interrupted.step();

  EXPECT_EQ(interrupted.loop.hash(), hash);
}

// Law 1: the view that conformance reads is that of one forward pass, whatever the batch.
TEST(PlainLoop, ShowsWhatAForwardPassSaw) {
  const Recipe recipe = small_recipe();
  SmallRun run(recipe);
  ForwardView view;

  run.loop.gradients(std::vector{learnable_batches(recipe, 1)[0]}, {},
                     {.step = 1, .epoch = {}, .scale_bits = 50}, &view);

  EXPECT_EQ(view.hidden.size(), 16u * 12);
  EXPECT_EQ(view.logits.size(), 16u * 23);
  ASSERT_EQ(view.mtp_logits.size(), 1u);
  EXPECT_EQ(view.mtp_logits[0].size(), 14u * 23);
  ASSERT_EQ(view.expert_ids.size(), 2u);
  EXPECT_EQ(view.expert_ids[0].size(), 32u);
  EXPECT_EQ(view.expert_weights[1].size(), 28u);
}

}  // namespace
}  // namespace troupe::tests
