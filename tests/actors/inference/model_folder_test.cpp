#include "actors/inference/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "runtime/checkpoint/error.h"
#include "runtime/data/error.h"
#include "runtime/data/tokenizer/bpe_trainer.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace actors;
using testing::AllOf;
using testing::HasSubstr;

const fs::path goldens = fs::path(TROUPE_SOURCE_DIR) / "tests/goldens";

class ModelFolder : public testing::Test {
 protected:
  ModelFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) /
              ("troupe_" + std::to_string(getpid()) + "_" + test->name());
    fs::create_directories(folder_);
  }
  ~ModelFolder() override { fs::remove_all(folder_); }

  /// A copy of a golden that may be spoiled.
  fs::path copy_of(const std::string& golden) const {
    fs::copy(goldens / golden, folder_ / golden);
    return folder_ / golden;
  }

  fs::path folder_;
};

runtime::Tokenizer tokenizer_of(int32_t vocabulary) {
  runtime::BpeTrainer trainer;
  trainer.add("the bits are the same, whatever breaks, and whatever breaks the bits are the same");
  return runtime::Tokenizer::from_json(runtime::write_tokenizer_json(trainer.train(vocabulary)),
                                       "test");
}

void export_to(const fs::path& folder, const LoadedModel& model,
               const runtime::Tokenizer* tokenizer) {
  export_model({.folder = folder, .model = model.model, .arena = *model.arena, .state = 0,
                .routing_bias = model.routing_bias, .tokenizer = tokenizer, .context = 24});
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(ModelFolder, WhatIsExportedIsLoadedWithTheSameBits) {
  for (const char* golden : {"plain", "yarn-mtp", "fp8"}) {
    const LoadedModel model = load_model_folder(goldens / golden);

    export_to(folder_ / golden, model, nullptr);
    const LoadedModel again = load_model_folder(folder_ / golden);

    ASSERT_EQ(again.arena->tensors(), model.arena->tensors()) << golden;
    for (int t = 0; t < model.arena->tensors(); ++t) {
      const auto a = model.arena->weight(t, 0), b = again.arena->weight(t, 0);
      ASSERT_EQ(model.arena->spec(t).name, again.arena->spec(t).name);
      ASSERT_EQ(a.count(), b.count());
      EXPECT_TRUE(std::equal(kernels::values<float>(a), kernels::values<float>(a) + a.count(),
                             kernels::values<float>(b)))
          << model.arena->spec(t).name;
    }
    EXPECT_EQ(again.routing_bias, model.routing_bias);
    EXPECT_FALSE(model.routing_bias.empty());
    EXPECT_EQ(again.model.SerializeAsString(), model.model.SerializeAsString());
    EXPECT_FALSE(fs::exists(folder_ / golden / "tokenizer.json"));
  }
}

TEST_F(ModelFolder, MtpLayersThatTheWeightsLackAreNoted) {
  const LoadedModel model = load_model_folder(goldens / "plain");

  EXPECT_EQ(model.recipe.shape.mtp_layers, 0);
  ASSERT_EQ(model.notes.size(), 1u);
  EXPECT_THAT(model.notes[0], HasSubstr("MTP"));
}

TEST_F(ModelFolder, TheTokenizerAndTheTrainedContextTravelWithTheModel) {
  LoadedModel model = load_model_folder(goldens / "plain");
  const runtime::Tokenizer tokenizer = tokenizer_of(280);
  export_to(folder_ / "out", model, &tokenizer);

  const auto again = load_tokenizer(folder_ / "out", 280);

  EXPECT_EQ(again.json(), tokenizer.json());
  EXPECT_EQ(again.special().eos, tokenizer.special().eos);
  EXPECT_EQ(trained_context(folder_ / "out", 512), 24);
  EXPECT_EQ(trained_context(folder_ / "out", 16), 16);  // more than the model has positions
  EXPECT_EQ(trained_context(goldens / "plain", 512), 512);
}

// The default names of bos, eos and pad are DeepSeek's: a tokenizer may have others, or none.
TEST_F(ModelFolder, ATokenizerWithoutTheDefaultNamesIsLoadedAgain) {
  std::string json = tokenizer_of(280).json();
  const std::string bos = "<｜begin▁of▁sentence｜>";
  for (size_t at = 0; (at = json.find(bos)) != std::string::npos;) json.replace(at, bos.size(), "<s>");
  const auto tokenizer = runtime::Tokenizer::from_json(json, "test");
  ASSERT_EQ(tokenizer.special().bos, -1);

  export_to(folder_ / "out", load_model_folder(goldens / "plain"), &tokenizer);

  const auto again = load_tokenizer(folder_ / "out", 512);
  EXPECT_EQ(again.special().bos, -1);
  EXPECT_EQ(again.special().eos, tokenizer.special().eos);
}

TEST_F(ModelFolder, ATokenizerOfMoreTokensThanTheModelIsRefused) {
  const LoadedModel model = load_model_folder(goldens / "plain");
  const runtime::Tokenizer tokenizer = tokenizer_of(280);
  export_to(folder_ / "out", model, &tokenizer);

  EXPECT_THAT(error_of([&] { load_tokenizer(folder_ / "out", 128); }),
              AllOf(HasSubstr("280"), HasSubstr("128")));
}

TEST_F(ModelFolder, AFolderThatIsThereIsNotWrittenOver) {
  const LoadedModel model = load_model_folder(goldens / "fp8");
  fs::create_directories(folder_ / "out");
  std::ofstream(folder_ / "out/mine") << "text";

  EXPECT_THAT(error_of([&] { export_to(folder_ / "out", model, nullptr); }),
              HasSubstr((folder_ / "out").string()));
  EXPECT_TRUE(fs::exists(folder_ / "out/mine"));
}

TEST_F(ModelFolder, ABiasThatIsTooShortIsRefusedAndNothingIsLeft) {
  LoadedModel model = load_model_folder(goldens / "plain");
  model.routing_bias.pop_back();

  EXPECT_THAT(error_of([&] { export_to(folder_ / "out", model, nullptr); }), HasSubstr("bias"));
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(ModelFolder, WhatIsMissingOrCutIsNamed) {
  EXPECT_THAT(error_of([&] { load_model_folder(folder_ / "absent"); }), HasSubstr("absent"));

  const fs::path plain = copy_of("plain");
  fs::resize_file(plain / "model.safetensors", 700'000);
  EXPECT_THAT(error_of([&] { load_model_folder(plain); }), HasSubstr("model.safetensors"));

  const fs::path fp8 = copy_of("fp8");
  fs::remove(fp8 / "model-00002-of-000002.safetensors");
  EXPECT_THAT(error_of([&] { load_model_folder(fp8); }),
              HasSubstr("model-00002-of-000002.safetensors"));
}

TEST_F(ModelFolder, WeightsOfAnotherShapeThanTheConfigurationsAreNamed) {
  const fs::path plain = copy_of("plain");
  std::string text;
  {
    std::ifstream in(plain / "config.json");
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  const std::string found = "\"intermediate_size\": 96";
  text.replace(text.find("\n  " + found) + 3, found.size(), "\"intermediate_size\": 80");
  std::ofstream(plain / "config.json") << text;

  EXPECT_THAT(error_of([&] { load_model_folder(plain); }),
              AllOf(HasSubstr("model.layers.0.mlp.gate_proj.weight"), HasSubstr("[96, 64]"),
                    HasSubstr("[80, 64]")));
}

}  // namespace
}  // namespace troupe::tests
