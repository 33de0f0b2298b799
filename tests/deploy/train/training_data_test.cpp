// What a step is trained on: from a run file to the tokens that its actors get.
#include "deploy/train/training_data.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "actors/train/recipe.h"
#include "config/load.h"
#include "deploy/train/run_setup.h"
#include "runtime/model_shape.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::Pair;

/// Sources that share no letter, so that a token tells which one it is of.
class Mixed : public testing::Test {
 protected:
  Mixed() : folder_(fs::path(testing::TempDir()) /
                    testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const char letter : {'a', 'k', 'u'}) write(letter);
    std::ofstream(folder_ / "run.textproto")
        << "model { file: \"" TROUPE_SOURCE_DIR "/config/models/tiny.textproto\" "
           "with { vocab_size: 270 layers: 2 hidden_size: 32 } } "
           "data { tokenizer { train { vocab_size: 270 } } seq_len: 8 holdout: 0.2 "
           "source { name: \"prose\" jsonl: \"a.jsonl\" weight: 5 } "
           "source { name: \"code\" jsonl: \"k.jsonl\" weight: 2 } "
           "source { name: \"sums/2\" jsonl: \"u.jsonl\" weight: 1 } } "
           "train { steps: 6 micro_batch: 2 micro_batches: 3 }";
    const config::LoadedRun run = config::load_run(folder_ / "run.textproto", {});
    const config::LoadedModel model = config::model_of(run);
    data_ = read_training_data(run, model.model);
    timeline_.emplace(actors::make_recipe(run.run, runtime::model_shape(model.model)));
  }
  ~Mixed() override { fs::remove_all(folder_); }

  /// 80 documents of six letters from `first` on, of different lengths.
  void write(char first) const {
    std::ofstream file(folder_ / (std::string(1, first) + ".jsonl"));
    for (int i = 0; i < 80; ++i) {
      std::string text;
      for (int j = 0; j < 12 + i % 7; ++j) text += static_cast<char>(first + (i + j * j) % 6);
      file << nlohmann::json{{"text", text}} << "\n";
    }
  }

  /// The source of the row, by its letters; fails if they are of several.
  size_t source_of(const kernels::Buffer& inputs, int64_t row, int64_t width) const {
    const auto* tokens = kernels::values<int32_t>(inputs.view) + row * width;
    const std::string text = data_.tokenizer->decode_without_special(
        {tokens, static_cast<size_t>(width)});
    const auto of = [](char c) { return static_cast<size_t>(c - 'a') / 10; };
    for (const char c : text) EXPECT_EQ(of(c), of(text.front())) << text;
    return of(text.front());
  }

  const fs::path folder_;
  TrainingData data_;
  std::optional<actors::Timeline> timeline_;
};

TEST_F(Mixed, SequencesTrainedOnHaveTheExactRatiosOfTheirSources) {
  std::vector<uint64_t> counts(3);
  const double weights[] = {5, 2, 1};
  uint64_t all = 0;
  for (uint64_t step = 1; step <= 12; ++step) {
    for (const actors::MicroBatch& batch : data_.step(timeline_->at(step))) {
      for (int64_t row = 0; row < batch.sequences(); ++row) {
        ++counts[source_of(batch.inputs, row, batch.rows)];
        ++all;
        for (size_t i = 0; i < 3; ++i) {
          const double wanted = static_cast<double>(all) * weights[i] / 8;
          EXPECT_LT(std::abs(static_cast<double>(counts[i]) - wanted), 1) << all;
        }
      }
    }
  }

  EXPECT_THAT(counts, ElementsAre(45, 18, 9));  // of 72: 5, 2 and 1 in 8
}

TEST_F(Mixed, WhatIsSaidOfAStepIsWhatItIsTrainedOn) {
  for (uint64_t step = 1; step <= 6; ++step) {
    std::vector<uint64_t> counts(3);
    for (const actors::MicroBatch& batch : data_.step(timeline_->at(step))) {
      for (int64_t row = 0; row < batch.sequences(); ++row) {
        ++counts[source_of(batch.inputs, row, batch.rows)];
      }
    }

    EXPECT_THAT(data_.sequences_by_source(timeline_->at(step)),
                ElementsAre(Pair("prose", counts[0]), Pair("code", counts[1]),
                            Pair("sums/2", counts[2])));
  }
}

TEST_F(Mixed, HeldOutTextOfEachSourceHasAFileOfItsOwn) {
  ASSERT_THAT(data_.heldout_of_sources,
              ElementsAre(Pair("0-prose.txt", testing::Not(testing::IsEmpty())),
                          Pair("1-code.txt", testing::Not(testing::IsEmpty())),
                          Pair("2-sums_2.txt", testing::Not(testing::IsEmpty()))));

  std::string all;
  for (const auto& [file, text] : data_.heldout_of_sources) all += text;
  EXPECT_EQ(all, data_.heldout_text);  // documents are numbered source after source
  for (const runtime::HeldOutDocument& document : *data_.heldout) {
    const std::string text = data_.tokenizer->decode_without_special(document.tokens);
    EXPECT_EQ(document.source, text[0] < 'k' ? "prose" : text[0] < 'u' ? "code" : "sums/2");
  }
}

}  // namespace
}  // namespace troupe::deploy
