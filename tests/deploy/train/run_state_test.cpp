#include "deploy/train/run_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const char* const with_ema =
    "--set train.optimizer.moments=BF16 --set train.optimizer.ema_decay=0.5 "
    "--set data.holdout=0.1 --set train.eval_every=6";

class RunState : public ProgramTest {
 protected:
  void replace(const std::string& file, const std::string& old_text, const std::string& new_text) {
    std::string text = read_file(folder_ / file);
    const size_t at = text.find(old_text);
    ASSERT_NE(at, std::string::npos) << text;
    text.replace(at, old_text.size(), new_text);
    std::ofstream(folder_ / file) << text;
  }
  /// The number behind `name` in the last output.
  double number(const std::string& name) const {
    const size_t at = output_.rfind(name + " ");
    return at == std::string::npos ? -1 : std::atof(output_.c_str() + at + name.size() + 1);
  }
};

// What the evaluator prints of the EMA is what the exported and the chosen EMA score.
TEST_F(RunState, TheEmaIsScoredExportedConvertedAndGeneratedFrom) {
  ASSERT_EQ(troupe(train(with_ema)), 0) << output_;
  const double ema_loss = number("ema_loss"), loss = number("state 12  loss");
  ASSERT_GT(ema_loss, 0) << output_;
  EXPECT_NE(ema_loss, loss);

  ASSERT_EQ(troupe("checkpoint export run --ema --out average"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("average: the EMA of step 12"));
  ASSERT_EQ(troupe("convert --from run --ema --to converted"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("read back and equal"));
  for (const char* name : {"model.safetensors", "config.json", "tokenizer_config.json"}) {
    EXPECT_EQ(read_file(folder_ / "converted" / name), read_file(folder_ / "average" / name));
  }
  EXPECT_NE(read_file(folder_ / "average/model.safetensors"),
            read_file(folder_ / "run/model/model.safetensors"));

  for (const char* model : {"average", "run --ema"}) {
    ASSERT_EQ(troupe(std::string("eval --text run/heldout.txt --model ") + model), 0) << output_;
    EXPECT_NEAR(number("  loss"), ema_loss, 1e-4) << model;
  }
  ASSERT_EQ(troupe("eval --text run/heldout.txt --model run --step 12"), 0) << output_;
  EXPECT_NEAR(number("  loss"), loss, 1e-4);
  ASSERT_EQ(troupe("generate --model run --ema --prompt actor --max-tokens 3"), 0) << output_;
}

TEST_F(RunState, AStateWithoutAnEmaSaysSo) {
  ASSERT_EQ(troupe(train()), 0) << output_;

  EXPECT_EQ(troupe("checkpoint export run --ema --out average"), 1);
  EXPECT_THAT(output_, HasSubstr("--ema: run/checkpoints/step-12 holds f32 moments, wanted an EMA"));
  EXPECT_EQ(troupe("eval --text run/heldout.txt --model run/model --ema"), 1);
  EXPECT_THAT(output_, HasSubstr("--ema: found run/model, which is no run folder"));
  EXPECT_EQ(troupe("convert --from run/model --step 3 --to other"), 1);
  EXPECT_THAT(output_, HasSubstr("--step: found run/model, which is no run folder"));
  ASSERT_EQ(troupe("checkpoint ls run --json"), 0);
  EXPECT_THAT(output_, AllOf(HasSubstr("\"moments\": \"f32\""), HasSubstr("\"ema\": false")));
}

// There is no model folder of a baseline; its run folder stands in the place of one.
TEST_F(RunState, AModelWithGqaIsUsedFromItsRunFolder) {
  ASSERT_EQ(troupe(train("--set model.with.attention=GQA --set model.with.kv_heads=2 "
                         "--set model.with.head_dim=6 --set data.holdout=0.1")), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("note: no model folder, the attention is no MLA"));
  const double loss = number("state 12  loss");
  EXPECT_FALSE(fs::exists(folder_ / "run/model"));

  ASSERT_EQ(troupe("eval --text run/heldout.txt --model run"), 0) << output_;
  EXPECT_NEAR(number("  loss"), loss, 1e-4);
  ASSERT_EQ(troupe("generate --model run --prompt actor --max-tokens 3"), 0) << output_;
  EXPECT_EQ(troupe("generate --model run --prompt actor --form absorbed"), 1);
  EXPECT_THAT(output_, HasSubstr("the model's attention is GQA, wanted MLA"));
  EXPECT_EQ(troupe("checkpoint export run --out model"), 1);
  EXPECT_THAT(output_, HasSubstr("found GQA, wanted MLA"));
  ASSERT_EQ(troupe("replay run --step 12"), 0) << output_;
}

// A resumed run keeps its recipe: bf16 moments are no beginning for f32 ones.
TEST_F(RunState, AnotherFormatIsNotResumed) {
  ASSERT_EQ(troupe(train(with_ema)), 0) << output_;
  replace("run/run.textproto", "moments: BF16", "moments: F32");

  EXPECT_EQ(troupe("train --resume run"), 1);

  EXPECT_THAT(output_, HasSubstr("run/checkpoints/step-12 holds bf16 moments and an EMA, "
                                 "train.optimizer.moments and ema_decay of run.textproto want f32 "
                                 "moments and an EMA: a resumed run keeps its recipe"));
}

// The EMA is part of a run's bits: replayed from its first state, and resumed in the middle.
TEST_F(RunState, AReplayAndAResumedRunComeToTheSameEma) {
  const std::string more = std::string(with_ema) + " --set train.optimizer.decay=CONSTANT";
  ASSERT_EQ(troupe(train(more)), 0) << output_;
  const std::string hash = trained_hash(12);
  ASSERT_EQ(troupe("replay run --step 12"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("hash " + hash + ": the recorded one"));
  fs::rename(folder_ / "run", folder_ / "whole");

  ASSERT_EQ(troupe(train(more + " --set train.steps=7")), 0) << output_;
  ASSERT_EQ(troupe("train --resume run --set train.steps=12"), 0) << output_;

  EXPECT_EQ(trained_hash(12), hash);
}

}  // namespace
}  // namespace troupe::tests
