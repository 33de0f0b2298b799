#include "config/phases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/plan/describe.h"
#include "config/plan/memory.h"
#include "config/plan/planner.h"
#include "config/text/textproto.h"
#include "config/validate.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::HasSubstr;

/// The tiny run with more of a recipe, as text of `train`.
LoadedRun run_with(const std::string& train) {
  LoadedRun run = tiny_run();
  run.run.mutable_train()->clear_optimizer();
  run.run.mutable_train()->clear_routing();
  run.run.mutable_train()->clear_mtp_weight();
  run.run.mutable_train()->clear_micro_batches();
  Run more;
  run.origins = parse_textproto("more.textproto", "train { " + train + " }", more);
  run.run.MergeFrom(more);
  return run;
}

std::string error_with(const std::string& train) {
  return error_of([&] {
    const LoadedRun run = run_with(train);
    validate(run, model_of(run));
  });
}

constexpr const char* extension = R"(
  phase { after_steps: 4 seq_len: 8192 micro_batch: 1 micro_batches: 3 yarn { factor: 8 } }
  phase { after_steps: 9 seq_len: 16384 learning_rate: 7.3e-6 })";

TEST(Phases, KeepWhatTheyDoNotChange) {
  const LoadedRun run = run_with(extension);

  const auto phases = phases_of(run.run, positions_of(model_of(run).model));

  ASSERT_EQ(phases.size(), 3u);
  EXPECT_EQ(phases[0].seq_len, 64);
  EXPECT_EQ(phases[0].micro_batch, 2);
  EXPECT_FALSE(phases[0].micro_batches || phases[0].yarn || phases[0].learning_rate);
  EXPECT_EQ(phases[1].seq_len, 8192);
  EXPECT_EQ(phases[1].yarn->original_max_position(), 4096) << "the model's";
  EXPECT_EQ(phases[1].max_positions, 32768);
  EXPECT_EQ(phases[2].after_steps, 9);
  EXPECT_EQ(phases[2].seq_len, 16384);
  EXPECT_EQ(phases[2].micro_batch, 1);
  EXPECT_EQ(phases[2].micro_batches, 3);
  EXPECT_EQ(phases[2].yarn->factor(), 8);
  EXPECT_EQ(phases[2].learning_rate, 7.3e-6);
}

TEST(Phases, OfAStateIsThatOfTheStepThatMadeIt) {
  const LoadedRun run = run_with(extension);
  const Model model = model_of(run).model;

  for (const uint64_t state : {0u, 1u, 4u}) {
    EXPECT_FALSE(model_at(run.run, model, state).has_yarn());
    EXPECT_EQ(seq_len_at(run.run, model, state), 64);
  }
  EXPECT_EQ(model_at(run.run, model, 5).max_positions(), 32768);
  EXPECT_EQ(model_at(run.run, model, 5).yarn().factor(), 8);
  EXPECT_EQ(seq_len_at(run.run, model, 9), 8192);
  EXPECT_EQ(seq_len_at(run.run, model, 10), 16384);
}

TEST(Phases, TakeTheOriginalPositionsOfAModelThatIsStretchedAlready) {
  LoadedRun run = run_with("phase { after_steps: 4 seq_len: 2000 yarn { factor: 4 } }");
  run.run.mutable_model()->mutable_with()->mutable_yarn()->set_factor(2);
  run.run.mutable_model()->mutable_with()->mutable_yarn()->set_original_max_position(512);

  EXPECT_EQ(model_at(run.run, model_of(run).model, 5).max_positions(), 2048);
}

TEST(MicroBatches, AreRoundedToTheNearestMultipleAndAtLeastOne) {
  Schedule schedule;
  EXPECT_EQ(rounded_micro_batches(schedule, 1.0), 1);
  EXPECT_EQ(rounded_micro_batches(schedule, 2.49), 2);
  EXPECT_EQ(rounded_micro_batches(schedule, 2.5), 3);
  schedule.set_micro_batches_multiple(4);
  EXPECT_EQ(rounded_micro_batches(schedule, 1.0), 4);
  EXPECT_EQ(rounded_micro_batches(schedule, 5.9), 4);
  EXPECT_EQ(rounded_micro_batches(schedule, 6), 8);
}

// What a step may come to is planned for from the start.
TEST(LargestStep, IsThatOfAllPhasesAndPoints) {
  const std::string curve =
      "schedule { micro_batches { start: 2 to { tokens: 100 value: 12 shape: LINEAR } "
      "to { tokens: 200 value: 5 } } micro_batches_multiple: 5 } ";
  const StepExtents largest = largest_step(run_with(curve + extension).run);
  EXPECT_EQ(largest.micro_batches, 10);
  EXPECT_EQ(largest.seq_len, 16384);
  EXPECT_EQ(largest.micro_batch_tokens, 16384);
  EXPECT_EQ(largest_step(run_with("micro_batches: 2 " + std::string(extension)).run).micro_batches, 3);
  EXPECT_EQ(largest_step(tiny_run().run).micro_batch_tokens, 128);

  const LoadedRun run = run_with(curve);
  const LoadedModel model = model_of(run);
  const Plan plan = make_plan({.run = run, .model = model, .cores = 4});
  EXPECT_EQ(plan.data, 4);
  size_t dealt = 0;
  for (const auto& each : plan.micro_batches) dealt += each.size();
  EXPECT_EQ(dealt, 10u);
}

TEST(LargestStep, CountsInTheMemory) {
  const LoadedRun with = run_with("micro_batches: 3 " + std::string(extension));
  const LoadedRun without = run_with("micro_batches: 3");
  const LoadedModel model = model_of(with);
  const PlanArgs args{.run = with, .model = model, .cores = 1};
  const PlanArgs less{.run = without, .model = model, .cores = 1};

  EXPECT_EQ(estimate_memory(args, make_plan(args), 0).activation_bytes,
            128 * estimate_memory(less, make_plan(less), 0).activation_bytes);
  EXPECT_THAT(describe_plan(args, make_plan(args)),
              HasSubstr("  from step 10: 3 micro-batches of 1 sequences of 16384 tokens, positions "
                        "x 8\n"));
}

TEST(ValidateSchedule, TakesWhatTheReportHas) {
  const LoadedRun run = load_run(source_file("config/runs/deepseek_v3_schedule.textproto"));
  const LoadedModel model = model_of(run);

  EXPECT_NO_THROW(validate(model));
  EXPECT_NO_THROW(validate(run, model));
  const PlanArgs args{.run = run, .model = model, .cores = 2};
  EXPECT_THAT(describe_plan(args, make_plan(args)),
              HasSubstr("  data 0    micro-batches 0 2 .. 15358, 7,680 in all\n"));
}

TEST(ValidateSchedule, RefusesCurvesThatGoNowhere) {
  EXPECT_THAT(error_with("schedule { gamma { to { tokens: 5 value: 1 } } }"),
              HasSubstr("train.schedule.gamma.start: found nothing, wanted the value at 0 tokens"));
  EXPECT_THAT(error_with("schedule { gamma { start: -1 } }"),
              HasSubstr("more.textproto:1:28: train.schedule.gamma.start: found -1, wanted at least 0"));
  EXPECT_THAT(error_with("schedule { gamma { start: 1 to { tokens: 5 } } }"),
              HasSubstr("train.schedule.gamma.to[0].value: found nan"));
  EXPECT_THAT(error_with("schedule { mtp_weight { start: 1 to { tokens: 5 value: 1 } "
                         "to { tokens: 5 value: 2 } } }"),
              HasSubstr("train.schedule.mtp_weight.to[1].tokens: found 5, wanted more than 5, at "
                        "most 1e+18"));
  EXPECT_THAT(error_with("schedule { learning_rate { start: nan } }"), HasSubstr("found nan"));
  EXPECT_THAT(error_with("schedule { micro_batches { start: 0.5 } }"),
              HasSubstr("train.schedule.micro_batches.start: found 0.5, wanted 1 to 1048576"));
  EXPECT_THAT(error_with("schedule { micro_batches { start: 2 } micro_batches_multiple: 0 }"),
              HasSubstr("micro_batches_multiple: found 0, wanted 1 to 1048576"));
}

// The timeline lists every number of micro-batches that a run goes through.
TEST(ValidateSchedule, RefusesCurvesThatWouldFillTheMemory) {
  const std::string up_and_down =
      "schedule { micro_batches { start: 1 to { tokens: 1e17 value: 1048576 shape: LINEAR } "
      "to { tokens: 2e17 value: 1 shape: LINEAR } } ";

  EXPECT_THAT(error_with(up_and_down + "}"),
              HasSubstr("train.schedule.micro_batches: found 2097150 numbers on the way, wanted at "
                        "most 1048576; a larger train.schedule.micro_batches_multiple"));
  EXPECT_EQ(error_with(up_and_down + "micro_batches_multiple: 2 }"), "");
  std::string points;
  for (int i = 1; i <= 33; ++i) points += "to { tokens: " + std::to_string(i) + " value: 1 } ";
  EXPECT_THAT(error_with("schedule { gamma { start: 1 " + points + "} }"),
              HasSubstr("train.schedule.gamma.to: found 33 points, wanted at most 32"));
}

TEST(ValidateSchedule, RefusesAFieldThatACurveReplaces) {
  EXPECT_THAT(error_with("optimizer { lr: 1 } schedule { learning_rate { start: 1 } }"),
              HasSubstr("more.textproto:1:21: train.optimizer.lr: found 1, wanted nothing: "
                        "train.schedule.learning_rate is there"));
  EXPECT_THAT(error_with("optimizer { decay: COSINE } schedule { learning_rate { start: 1 } }"),
              HasSubstr("train.optimizer.decay: found COSINE, wanted nothing"));
  EXPECT_THAT(error_with("micro_batches: 3 schedule { micro_batches { start: 1 } }"),
              HasSubstr("train.micro_batches: found 3"));
  EXPECT_THAT(error_with("routing { gamma: 0 } schedule { gamma { start: 1 } }"),
              HasSubstr("train.routing.gamma: found 0"));
  EXPECT_THAT(error_with("mtp_weight: 1 schedule { mtp_weight { start: 1 } }"),
              HasSubstr("train.mtp_weight: found 1"));
  EXPECT_EQ(error_with("optimizer { warmup_steps: 3 } schedule { learning_rate { start: 1 } }"), "");
}

TEST(ValidatePhases, RefusesWhatCannotFollow) {
  EXPECT_THAT(error_with("phase { after_steps: 0 }"),
              HasSubstr("train.phase[0].after_steps: found 0, wanted 1 to 1099511627776"));
  EXPECT_THAT(error_with("phase { after_steps: 5 } phase { after_steps: 5 }"),
              HasSubstr("train.phase[1].after_steps: found 5, wanted 6 to "));
  EXPECT_THAT(error_with("phase { after_steps: 5 seq_len: 4097 }"),
              HasSubstr("train.phase[0].seq_len: found 4097, wanted 3 to 4096, the positions of the "
                        "model in this phase"));
  EXPECT_EQ(error_with("phase { after_steps: 5 seq_len: 8192 yarn { factor: 2 } }"), "");
  EXPECT_THAT(error_with("phase { after_steps: 5 yarn { factor: 0.5 } }"),
              HasSubstr("train.phase[0].yarn.factor: found 0.5, wanted a number of at least 1"));
  EXPECT_THAT(error_with("phase { after_steps: 5 yarn { factor: 1e300 } }"),
              HasSubstr("wanted one that makes at most 16777216 positions"));
  EXPECT_THAT(error_with("phase { after_steps: 5 micro_batch: 0 learning_rate: -1 }"),
              HasSubstr("train.phase[0].learning_rate: found -1"));
  std::string many;
  for (int i = 1; i <= 33; ++i) many += "phase { after_steps: " + std::to_string(i) + " } ";
  EXPECT_THAT(error_with(many), HasSubstr("train.phase: found 33 phases, wanted at most 32"));
}

TEST(ValidateSpike, RefusesAWindowOfOneAndAThresholdOfNothing) {
  EXPECT_THAT(error_with("spike { window: 1 threshold: 0 }"),
              HasSubstr("train.spike.window: found 1, wanted 2 to 1048576"));
  EXPECT_THAT(error_with("spike { window: 1 threshold: 0 }"),
              HasSubstr("train.spike.threshold: found 0, wanted a number greater than 0"));
  EXPECT_EQ(error_with("spike { }"), "");
}

}  // namespace
}  // namespace troupe::config
