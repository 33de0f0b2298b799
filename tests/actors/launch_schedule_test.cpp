// Runs in which everything varies: sizes of steps, phases, rates. And loss spikes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/actors/run_of.h"
#include "tests/actors/train/varied_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::HasSubstr;

BatchSource varied(const Recipe& recipe) {
  return [recipe](uint64_t step) { return varied_batches(recipe, step); };
}

Recipe varied_model() {
  Recipe recipe = varied_recipe();
  recipe.shape.layers = 3;
  return recipe;
}

/// Deals as many micro-batches as the largest step has.
Outcome play(const Recipe& recipe, const Layout& layout, const Trouble& trouble = {}) {
  return play_with_actors(recipe, layout, varied(recipe), {}, trouble);
}

// Laws 1 and 2, where micro-batches, lengths, phases, gamma and the MTP weight change from step to
// step; some steps have fewer micro-batches than there are data workers.
TEST(Schedule, EveryLayoutHasThePlainLoopsHashAndRecords) {
  const Recipe recipe = varied_model();
  const Outcome plain = play_plainly(recipe, varied(recipe));

  for (const Layout& layout : {Layout{1, 1, 1, 1, 1, 1}, Layout{2, 1, 5, 2, 1, 2},
                               Layout{4, 3, 2, 3, 2, 3}, Layout{2, 2, 4, 4, 1, 1},
                               Layout{2, 2, 1, 2, 1, 2, config::Parallel::DUALPIPE},
                               Layout{2, 2, 2, 2, 1, 2, config::Parallel::DUALPIPE_V},
                               Layout{1, 2, 2, 2, 1, 2, config::Parallel::COMBINED_ONE_F_ONE_B},
                               Layout{2, 2, 2, 2, 2, 2, config::Parallel::COMBINED_ONE_F_ONE_B}}) {
    const Outcome outcome = play(recipe, layout);
    EXPECT_EQ(outcome.hash, plain.hash) << to_string(layout) << outcome.error;
    ASSERT_EQ(outcome.steps.size(), plain.steps.size());
    for (size_t i = 0; i < plain.steps.size(); ++i) {
      wire::StepRecord found = outcome.steps[i].record();
      found.clear_epoch();
      EXPECT_EQ(found.SerializeAsString(), [&] {
        wire::StepRecord wanted = plain.steps[i].record();
        wanted.clear_epoch();
        return wanted.SerializeAsString();
      }()) << to_string(layout) << ", step " << i + 1;
    }
  }
}

TEST(Schedule, LowPrecisionAndRecomputationFollowItToo) {
  Recipe recipe = varied_model();
  recipe.precision = kernels::Precision::fp8;
  const std::string wanted = play_plainly(recipe, varied(recipe)).hash;

  recipe.recompute = true;
  EXPECT_EQ(play(recipe, {2, 2, 3, 2, 2, 2}).hash, wanted);
  recipe.precision = kernels::Precision::fp32;
  EXPECT_NE(play(recipe, {2, 2, 3, 2, 2, 2}).hash, wanted);
}

TEST(Schedule, EveryNumberThatVariesChangesTheResult) {
  const auto hash_of = [](const Recipe& recipe) { return play_plainly(recipe, varied(recipe)).hash; };
  const std::string hash = hash_of(varied_model());
  const auto changed = [&](const std::function<void(Recipe&)>& change) {
    Recipe recipe = varied_model();
    change(recipe);
    return hash_of(recipe);
  };

  EXPECT_EQ(changed([](Recipe&) {}), hash);
  EXPECT_NE(changed([](Recipe& r) { r.schedule.clear_gamma(); }), hash);
  EXPECT_NE(changed([](Recipe& r) { r.schedule.clear_mtp_weight(); }), hash);
  EXPECT_NE(changed([](Recipe& r) { r.schedule.clear_learning_rate(); }), hash);
  EXPECT_NE(changed([](Recipe& r) { r.schedule.clear_micro_batches(); }), hash);
  EXPECT_NE(changed([](Recipe& r) { r.phases[1].yarn = r.phases[0].yarn; }), hash);
  EXPECT_NE(changed([](Recipe& r) { r.phases[1].yarn.reset(); }), hash);
  EXPECT_NE(changed([](Recipe& r) { r.phases[0].learning_rate = 2e-3; }), hash);
}

TEST(Schedule, RecordsHaveTheNumbersOfTheirSteps) {
  const Recipe recipe = varied_model();
  const Timeline timeline(recipe);

  for (const wire::StepDone& done : play_plainly(recipe, varied(recipe)).steps) {
    const StepNumbers numbers = timeline.at(done.record().step());
    EXPECT_EQ(done.record().learning_rate(), numbers.learning_rate);
    EXPECT_EQ(done.record().consumed_tokens(),
              numbers.consumed_tokens + static_cast<uint64_t>(numbers.tokens()));
    EXPECT_EQ(done.record().scheduled().SerializeAsString(),
              scheduled_numbers(numbers).SerializeAsString());
    int64_t rows = 0;
    for (const int64_t each : done.record().loads(0).rows()) rows += each;
    EXPECT_EQ(rows, numbers.tokens() * recipe.shape.top_k);
  }
}

// Whoever is started again in the middle of a phase goes on with its numbers.
TEST(Schedule, KillsInEveryPhaseLeaveTheHash) {
  const Recipe recipe = varied_model();
  const std::string wanted = play_plainly(recipe, varied(recipe)).hash;
  Trouble trouble;
  for (const char* text :
       {"stage/0@2:forward", "coordinator@4:apply", "attention_shard/1@5:backward",
        "trainer@6:forward", "router/0@8:forward", "coordinator@9:prepare",
        "optimizer_shard/0@9:apply", "expert_shard/0@10:backward"}) {
    trouble.failpoints.push_back(parse_failpoint(Fault::kill, text));
  }

  const Outcome outcome = play(recipe, {2, 2, 2, 2, 1, 2}, trouble);

  EXPECT_EQ(outcome.hash, wanted) << outcome.error;
  EXPECT_EQ(outcome.count(wire::Event::FAILPOINT), 8);
}

// The report, 4.3: YaRN on the decoupled key alone, from the phase on.
TEST(Schedule, APhaseHasTheTableAndTheScaleOfItsYarn) {
  const Recipe recipe = varied_model();
  const Timeline timeline(recipe);
  const PhaseContexts contexts(recipe, timeline);

  for (size_t phase = 0; phase < 3; ++phase) {
    const RunPhase& wanted = timeline.phases()[phase];
    kernels::ModelShape shape = recipe.shape;
    shape.yarn = wanted.yarn;
    const auto table =
        kernels::rope_table(wanted.sequence_rows, shape.rope, shape.rope_theta, shape.yarn);
    const kernels::MlaContext context = contexts.of(phase);
    ASSERT_EQ(context.rope->cosines.view.count(), table.cosines.view.count());
    for (int64_t i = 0; i < table.cosines.view.count(); ++i) {
      ASSERT_EQ(kernels::values<float>(context.rope->cosines.view)[i],
                kernels::values<float>(table.cosines.view)[i]);
      ASSERT_EQ(kernels::values<float>(context.rope->sines.view)[i],
                kernels::values<float>(table.sines.view)[i]);
    }
    EXPECT_EQ(context.scale, kernels::softmax_scale(shape.query_width(), shape.yarn));
  }
  EXPECT_NE(contexts.of(0).scale, contexts.of(1).scale);
}

/// A text of one rule, in step 41 of another: the loss goes up.
BatchSource with_a_surprise(const Recipe& recipe) {
  return [recipe](uint64_t step) {
    auto batches = learnable_batches(recipe, step);
    if (step != 41) return batches;
    for (MicroBatch& batch : batches) {
      for (int64_t i = 0; i < batch.targets.view.count(); ++i) {
        int32_t& target = kernels::values<int32_t>(batch.targets.view)[i];
        if (target >= 0) target = 22 - target;
      }
    }
    return batches;
  };
}

Recipe watched(config::Spike::Policy policy) {
  Recipe recipe = small_recipe();
  recipe.steps = 44;
  recipe.optimizer.set_lr(3e-2);
  recipe.spike.emplace();
  recipe.spike->set_window(6);
  recipe.spike->set_threshold(20);
  recipe.spike->set_policy(policy);
  return recipe;
}

TEST(SpikeInARun, IsCountedOnceAndSaidOnce) {
  const Recipe recipe = watched(config::Spike::COUNT);
  const BatchSource batches = with_a_surprise(recipe);
  const Outcome plain = play_plainly(recipe, batches);
  Trouble trouble;
  trouble.failpoints = {parse_failpoint(Fault::kill, "coordinator@42:prepare")};

  const Outcome outcome = play_with_actors(recipe, {2, 1, 2, 2, 1, 2}, batches, {}, trouble);

  EXPECT_EQ(outcome.hash, plain.hash) << outcome.error;
  EXPECT_TRUE(outcome.steps.at(40).record().is_spike());
  EXPECT_TRUE(outcome.steps.at(40).record().apply());
  EXPECT_EQ(outcome.steps.back().record().trend().spikes(), 1u);
  EXPECT_EQ(outcome.steps.back().record().trend().SerializeAsString(),
            plain.steps.back().record().trend().SerializeAsString());
  EXPECT_EQ(outcome.count(wire::Event::LOSS_SPIKE), 1);
}

TEST(SpikeInARun, IsSkippedWhereTheRecipeSaysSo) {
  const Recipe recipe = watched(config::Spike::SKIP);
  const BatchSource batches = with_a_surprise(recipe);

  const Outcome outcome = play_with_actors(recipe, {2, 1, 2, 2, 1, 2}, batches);

  EXPECT_EQ(outcome.hash, play_plainly(recipe, batches).hash) << outcome.error;
  EXPECT_NE(outcome.hash, play_plainly(watched(config::Spike::COUNT), batches).hash);
  for (size_t i = 0; i < outcome.steps.size(); ++i) {
    EXPECT_EQ(outcome.steps[i].record().apply(), i != 40) << "step " << i + 1;
  }
}

TEST(SpikeInARun, EndsTheRunAfterTheLastGoodCommitWhereTheRecipeSaysSo) {
  const Recipe recipe = watched(config::Spike::STOP);
  const BatchSource batches = with_a_surprise(recipe);

  const Outcome outcome = play_with_actors(recipe, {2, 1, 2, 2, 1, 2}, batches);

  EXPECT_THAT(outcome.error, HasSubstr("step 41 has loss"));
  EXPECT_THAT(outcome.error, HasSubstr("train.spike.policy is STOP"));
  EXPECT_EQ(outcome.steps.size(), 40u);
  EXPECT_THROW(play_plainly(recipe, batches), runtime::StateError);
}

}  // namespace
}  // namespace troupe::tests
