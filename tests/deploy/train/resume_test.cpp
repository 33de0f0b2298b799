#include "deploy/train/resume.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "runtime/state/hash.h"
#include "tests/actors/train/varied_recipe.h"

namespace troupe::tests {
namespace {

using deploy::objection_to;

/// A journal of three steps, with the hash of state 2, and a checkpoint of that state.
struct Sample {
  runtime::JournalHistory history;
  wire::CheckpointManifest manifest;

  Sample() {
    history.arithmetic = "cpu.1";
    for (uint64_t step = 1; step <= 3; ++step) {
      wire::StepRecord& record = history.commits.emplace_back();
      record.set_step(step);
      record.mutable_epoch()->set_n(step);
      record.set_loss(4.0 / static_cast<double>(step));
    }
    history.hashes[2] = 0xab;
    manifest.set_arithmetic("cpu.1");
    *manifest.mutable_record() = history.commits[1];
    manifest.set_state_hash(0xab);
  }
};

// A recipe that was changed behind the journal's back is found before anything is trained on it.
TEST(RecipeObjection, NamesTheFirstStepThatWouldHaveBeenAnother) {
  const actors::Recipe recipe = varied_recipe();
  const actors::Timeline timeline(recipe);
  std::vector<wire::StepRecord> commits(9);
  for (uint64_t step = 1; step <= commits.size(); ++step) {
    const actors::StepNumbers numbers = timeline.at(step);
    commits[step - 1].set_step(step);
    commits[step - 1].set_consumed_tokens(numbers.consumed_tokens +
                                          static_cast<uint64_t>(numbers.tokens()));
    commits[step - 1].set_learning_rate(numbers.learning_rate);
    *commits[step - 1].mutable_scheduled() = actors::scheduled_numbers(numbers);
  }
  const auto objection = [&](const std::function<void(actors::Recipe&)>& change) {
    actors::Recipe changed = recipe;
    change(changed);
    return deploy::recipe_objection(changed, commits);
  };

  EXPECT_EQ(objection([](auto& r) { r.steps = 1000; }), "");
  EXPECT_EQ(objection([](auto& r) { r.phases[1].sequence_rows = 23; }),
            "step 8 had consumed 776 tokens, with this recipe they would be 773");
  EXPECT_EQ(objection([](auto& r) { r.phases[0].learning_rate = 2e-3; }),
            "step 5 had learning rate 0.001, with this recipe it would be 0.002");
  EXPECT_NE(objection([](auto& r) { r.schedule.mutable_micro_batches()->set_start(1); }), "");
  EXPECT_NE(objection([](auto& r) { r.phases[0].after_steps = 3; }), "");
  EXPECT_EQ(objection([](auto& r) { r.schedule.mutable_gamma()->set_start(0.5); }),
            "step 1 had micro_batches: 2 sequences: 2 sequence_rows: 8 gamma: 0.01 mtp_weight: 0.3, "
            "with this recipe it would have micro_batches: 2 sequences: 2 sequence_rows: 8 gamma: 0.5 "
            "mtp_weight: 0.3");
}

// Commit law: whether the last commit was applied, who takes over does not know; the one before was.
TEST(TakeoverPoint, IsBeforeTheLastCommitWhichIsAppliedFirst) {
  actors::Recipe recipe = varied_recipe();
  const actors::Timeline timeline(recipe);
  runtime::JournalHistory history;
  history.arithmetic = "cpu.1";
  for (uint64_t step = 1; step <= 3; ++step) {
    const actors::StepNumbers numbers = timeline.at(step);
    wire::StepRecord& record = history.commits.emplace_back();
    record.set_step(step);
    record.set_consumed_tokens(numbers.consumed_tokens + static_cast<uint64_t>(numbers.tokens()));
    record.set_learning_rate(numbers.learning_rate);
    *record.mutable_scheduled() = actors::scheduled_numbers(numbers);
    record.add_bias(static_cast<float>(step));
  }
  runtime::StateArena arena(kernels::parameters(recipe.shape), actors::state_format(recipe));
  const auto at = [&](size_t commits) {
    auto part = history;
    part.commits.resize(commits);
    return deploy::takeover_point({"run", std::move(part), arena, recipe, 100});
  };

  const deploy::StartingPoint third = at(3);
  EXPECT_EQ(third.from.record.step(), 2u);
  EXPECT_EQ(third.bias.version, 2u);
  EXPECT_EQ(third.bias.values, std::vector<float>{2});
  EXPECT_EQ(third.from.open_commit->step(), 3u);
  EXPECT_EQ(third.from.commits.size(), 3u);
  EXPECT_EQ(third.history.commits.size(), 3u);
  const deploy::StartingPoint first = at(1);
  EXPECT_EQ(first.from.record.step(), 0u);
  EXPECT_EQ(first.from.open_commit->step(), 1u);
}

TEST(ObjectionTo, ACheckpointThatTheJournalKnowsIsNone) {
  Sample s;
  s.manifest.mutable_record()->mutable_epoch()->set_term(2);  // its step was done again

  EXPECT_EQ(objection_to(s.manifest, s.history), "");

  s.history.hashes.clear();
  EXPECT_EQ(objection_to(s.manifest, s.history), "") << "not every state is hashed";
}

TEST(LoadResumedRun, KeepsItsPromotionAsAllOfItsRecipe) {
  const std::vector<std::string> settings{"train.steps=9", "train.promotion=NEVER"};
  try {
    deploy::load_resumed_run("run", settings);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(),
                 "--set train.promotion=NEVER: a resumed run keeps its recipe, only train.steps may change, "
                 "and what is traced (cluster.trace)");
  }
}

TEST(KeepArithmetic, ARunGoesOnInTheOneThatItWasBegunIn) {
  const auto kept = [](std::string_view begun_in, config::Train::Arithmetic said) {
    config::Train train;
    train.set_precision(config::Train::FP8);
    train.set_arithmetic(said);
    deploy::keep_arithmetic(begun_in, train);
    return train.arithmetic();
  };
  // FP8 was of cpu.1 on every device before the tensor cores had it.
  EXPECT_EQ(kept("cpu.1", config::Train::BY_DEVICE), config::Train::CPU);
  EXPECT_EQ(kept("sm_90a.1", config::Train::BY_DEVICE), config::Train::SM_90A);
  EXPECT_EQ(kept("", config::Train::BY_DEVICE), config::Train::BY_DEVICE) << "nothing was done yet";
  EXPECT_EQ(kept("cpu.1", config::Train::SM_90A), config::Train::SM_90A) << "said is said";
}

TEST(ObjectionTo, AStepThatWasNotCommitted) {
  Sample s;
  s.history.commits.resize(1);

  EXPECT_EQ(objection_to(s.manifest, s.history), "is ahead of the journal");
}

TEST(ObjectionTo, AnotherCommitHashOrArithmetic) {
  Sample s;
  s.manifest.set_state_hash(0xac);
  EXPECT_EQ(objection_to(s.manifest, s.history),
            "has state hash 00000000000000ac, the journal has 00000000000000ab");

  s.manifest.mutable_record()->set_loss(2.5);
  EXPECT_EQ(objection_to(s.manifest, s.history),
            "is of another commit of step 2 than the journal's");

  s.manifest.set_arithmetic("sm_90a.1");
  EXPECT_EQ(objection_to(s.manifest, s.history),
            "is of arithmetic sm_90a.1, the journal is of cpu.1");
}

}  // namespace
}  // namespace troupe::tests
