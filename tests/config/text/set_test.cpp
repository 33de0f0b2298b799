#include "config/text/set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/text/textproto.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::ElementsAre;

class SetTest : public testing::Test {
 protected:
  void apply(const std::vector<std::string>& settings) { apply_settings(settings, run_, origins_); }
  std::string apply_error(const std::string& setting) {
    return error_of([&] { apply({setting}); });
  }

  config::Run run_;
  Origins origins_ = parse_textproto("a.textproto", "data { text: 'x' text: 'y' }", run_);
};

TEST_F(SetTest, SetsFieldsOfEveryTypeAndMakesTheirSections) {
  apply({"train.steps=200", "train.optimizer.lr=1e-3", "train.optimizer.moments=BF16",
         "model.with.norm_topk_prob=false", "out=runs/a b", "train.seed=18446744073709551615"});

  EXPECT_EQ(run_.train().steps(), 200);
  EXPECT_EQ(run_.train().optimizer().lr(), 1e-3);
  EXPECT_EQ(run_.train().optimizer().moments(), Optimizer::BF16);
  EXPECT_TRUE(run_.model().with().has_norm_topk_prob());
  EXPECT_FALSE(run_.model().with().norm_topk_prob());
  EXPECT_EQ(run_.out(), "runs/a b");
  EXPECT_EQ(run_.train().seed(), UINT64_MAX);
}

TEST_F(SetTest, ReplacesARepeatedFieldAndThenAppends) {
  apply({"data.text=a.txt", "data.text=b.txt"});

  EXPECT_THAT(run_.data().text(), ElementsAre("a.txt", "b.txt"));
  EXPECT_EQ(origins_.place("data.text[1]"), "--set data.text=b.txt");
}

TEST_F(SetTest, TheLaterSettingOfAFieldHolds) {
  apply({"train.steps=1", "train.steps=2"});

  EXPECT_EQ(run_.train().steps(), 2);
  EXPECT_EQ(origins_.place("train.steps"), "--set train.steps=2");
}

TEST_F(SetTest, OneSourceClearsTheOther) {
  apply({"model.file=a", "model.huggingface=b"});

  EXPECT_FALSE(run_.model().has_file());
  EXPECT_EQ(run_.model().huggingface(), "b");
}

TEST_F(SetTest, AValueMayHoldAnEqualsSign) {
  apply({"out=a=b"});

  EXPECT_EQ(run_.out(), "a=b");
}

TEST_F(SetTest, NamesTheNearestFieldForAWrongPath) {
  EXPECT_EQ(apply_error("train.stepz=2"),
            "--set train.stepz=2: train.stepz: found an unknown field, wanted train.steps");
  EXPECT_EQ(apply_error("lr=2"),
            "--set lr=2: lr: found an unknown field, wanted train.optimizer.lr");
  EXPECT_EQ(apply_error("train.steps.x=2"),
            "--set train.steps.x=2: train.steps.x: found an unknown field, wanted train.steps");
  EXPECT_EQ(apply_error("=2"), "--set =2: the field: found no path, wanted path=value");
}

TEST_F(SetTest, NamesASectionOfAListByItsNumber) {
  Origins origins = parse_textproto("a", "data { source { name: 'a' text: 'x' } source {} }", run_);

  apply_settings(std::vector<std::string>{"data.source[1].name=b", "data.source[0].text=y"}, run_,
                 origins);

  EXPECT_EQ(run_.data().source(0).name(), "a");
  EXPECT_THAT(run_.data().source(0).text(), ElementsAre("y"));
  EXPECT_EQ(run_.data().source(1).name(), "b");
  EXPECT_EQ(origins.place("data.source[1].name"), "--set data.source[1].name=b");
  for (const char* path : {"data.source[2].name", "data.source.name", "data.source[-1].name",
                           "data.source[.name", "data.source[x].name", "data.source].name"}) {
    EXPECT_NE(apply_error(std::string(path) + "=c"), "") << path;
  }
  EXPECT_EQ(apply_error("data.source.weight=2"),
            "--set data.source.weight=2: data.source: found a list of 2 sections, wanted "
            "data.source[0] to data.source[1]");
  EXPECT_EQ(apply_error("train[0].steps=2"),
            "--set train[0].steps=2: train[0].steps: found an unknown field, wanted train.steps");
}

TEST_F(SetTest, ListWithoutSectionsIsLeftToTheFile) {
  EXPECT_EQ(apply_error("data.source[0].weight=2"),
            "--set data.source[0].weight=2: data.source[0]: found a list of 0 sections, wanted "
            "sections in the run file");
}

TEST_F(SetTest, RefusesWrongValues) {
  EXPECT_EQ(apply_error("train.steps=2x"),
            "--set train.steps=2x: train.steps: found '2x', wanted an integer");
  EXPECT_EQ(apply_error("train.steps="),
            "--set train.steps=: train.steps: found '', wanted an integer");
  EXPECT_EQ(apply_error("data.seq_len=3000000000"),
            "--set data.seq_len=3000000000: data.seq_len: found '3000000000', "
            "wanted an integer of at most 2147483647");
  EXPECT_EQ(apply_error("train.on_nan=stop"),
            "--set train.on_nan=stop: train.on_nan: found 'stop', wanted one of STOP, SKIP");
  EXPECT_EQ(apply_error("train=1"),
            "--set train=1: train: found a section, wanted one of its fields, as train.steps");
  EXPECT_EQ(apply_error("train.steps"),
            "--set train.steps: train.steps: found no value, wanted path=value");
}

}  // namespace
}  // namespace troupe::config
