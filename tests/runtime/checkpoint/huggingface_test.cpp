#include "runtime/checkpoint/huggingface.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "config/load.h"
#include "config/parameters.h"
#include "kernels/ops/quantize.h"
#include "runtime/checkpoint/safetensors.h"
#include "tests/runtime/checkpoint/fixtures.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;

class HuggingFaceTest : public FolderTest {
 protected:
  /// A copy of a golden case that may be changed.
  std::filesystem::path copy_of(const std::string& name) {
    const auto to = folder_ / name;
    std::filesystem::create_directories(to);
    for (const auto& entry : std::filesystem::directory_iterator(golden(name))) {
      if (entry.path().filename() != "expected.safetensors") {
        std::filesystem::copy_file(entry.path(), to / entry.path().filename());
      }
    }
    return to;
  }

  void replace(const std::filesystem::path& file, const std::string& from, const std::string& to) {
    std::string text = read_text(file);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    write_text(file, text);
  }

  void write(const HuggingFaceModel& from, const std::filesystem::path& to, ExportDType dtype,
             int64_t largest_file_bytes = int64_t{5} << 30) {
    auto sink = create_huggingface({.folder = to,
                                    .model = from.model,
                                    .dtype = dtype,
                                    .bos_token_id = from.bos_token_id,
                                    .eos_token_id = from.eos_token_id,
                                    .largest_file_bytes = largest_file_bytes});
    for (const WeightInfo& info : sink->list()) {
      std::vector<float> values(static_cast<size_t>(info.count()));
      from.weights->read_f32(info.name, values);
      sink->write_f32(info.name, values);
    }
    sink->finish();
  }
};

std::vector<float> read(const WeightSource& source, const WeightInfo& info) {
  std::vector<float> values(static_cast<size_t>(info.count()));
  source.read_f32(info.name, values);
  return values;
}

std::string open_error(const std::filesystem::path& folder) {
  return error_of([&] { open_huggingface(folder); });
}

TEST_F(HuggingFaceTest, TheListHasAsManyElementsAsTheModelHasParameters) {
  for (const char* name : {"tiny", "small", "deepseek_16b", "deepseek_v3"}) {
    const config::Model model =
        config::load_model(std::filesystem::path(TROUPE_SOURCE_DIR) / "config/models" /
                           (std::string(name) + ".textproto"))
            .model;
    const config::ParameterCounts counts = config::count_parameters(model);
    int64_t elements = 0;

    for (const WeightInfo& info : weight_list(model)) elements += info.count();

    EXPECT_EQ(elements, counts.total + counts.mtp) << name;
  }
}

TEST_F(HuggingFaceTest, LoadsWithoutTheMtpLayerThatTheWeightsLack) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));

  EXPECT_EQ(model.model.mtp_layers(), 0);
  ASSERT_EQ(model.notes.size(), 1u);
  EXPECT_THAT(model.notes[0], HasSubstr("names 1 MTP layer(s), the weights have none"));
}

TEST_F(HuggingFaceTest, ReadsF32AsItStands) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  const SafetensorsFile file(golden("plain/model.safetensors"));

  size_t read_tensors = 0;
  for (const WeightInfo& info : model.weights->list()) {
    std::vector<float> wanted(static_cast<size_t>(info.count()));
    file.read_f32(*file.find(info.name), wanted);
    EXPECT_EQ(read(*model.weights, info), wanted) << info.name;
    ++read_tensors;
  }
  EXPECT_EQ(read_tensors, file.tensors().size());
}

TEST_F(HuggingFaceTest, ReadsTheMtpLayer) {
  const HuggingFaceModel model = open_huggingface(golden("yarn-mtp"));

  EXPECT_EQ(model.model.mtp_layers(), 1);
  EXPECT_TRUE(model.notes.empty());
  EXPECT_EQ(read(*model.weights, {"model.layers.3.eh_proj.weight", {48, 96}}).size(), 48u * 96u);
}

TEST_F(HuggingFaceTest, MultipliesFp8BlocksWithTheirScales) {
  const HuggingFaceModel model = open_huggingface(golden("fp8"));
  const SafetensorsFile file(golden("fp8/model-00001-of-000002.safetensors"));
  const std::string name = "model.layers.0.mlp.down_proj.weight";  // [160, 144]: 2 x 2 blocks
  const auto codes = file.bytes(*file.find(name));
  std::vector<float> scales(4);
  file.read_f32(*file.find(name + "_scale_inv"), scales);

  const std::vector<float> values = read(*model.weights, {name, {160, 144}});

  for (size_t row : {0u, 127u, 128u, 159u}) {
    for (size_t col : {0u, 127u, 128u, 143u}) {
      EXPECT_EQ(values[row * 144 + col], kernels::f8_e4m3_to_f32(codes[row * 144 + col]) *
                                             scales[row / 128 * 2 + col / 128]);
    }
  }
  EXPECT_NE(scales[0], scales[3]);
}

TEST_F(HuggingFaceTest, WhatIsWrittenInF32IsReadBitForBit) {
  for (const char* name : {"plain", "yarn-mtp", "fp8"}) {
    const HuggingFaceModel model = open_huggingface(golden(name));
    write(model, folder_ / "out" / name, ExportDType::f32);
    const HuggingFaceModel again = open_huggingface(folder_ / "out" / name);

    EXPECT_EQ(again.model.layers(), model.model.layers());
    EXPECT_TRUE(again.notes.empty());
    for (const WeightInfo& info : model.weights->list()) {
      EXPECT_EQ(read(*again.weights, info), read(*model.weights, info)) << info.name;
    }
  }
}

TEST_F(HuggingFaceTest, WhatIsWrittenInBf16IsRoundedButForTheBias) {
  const HuggingFaceModel model = open_huggingface(golden("yarn-mtp"));
  write(model, folder_ / "out", ExportDType::bf16);
  const HuggingFaceModel again = open_huggingface(folder_ / "out");

  for (const WeightInfo& info : model.weights->list()) {
    std::vector<float> wanted = read(*model.weights, info);
    if (!info.name.ends_with("bias")) {
      for (float& value : wanted) value = kernels::bf16_to_f32(kernels::f32_to_bf16(value));
    }
    EXPECT_EQ(read(*again.weights, info), wanted) << info.name;
  }
}

TEST_F(HuggingFaceTest, RepeatsEmbeddingAndHeadInTheMtpLayerAsReleased) {
  write(open_huggingface(golden("yarn-mtp")), folder_ / "out", ExportDType::f32);
  const SafetensorsFile file(folder_ / "out/model.safetensors");
  const SafetensorsFile wanted(golden("yarn-mtp/model.safetensors"));

  EXPECT_EQ(file.tensors().size(), wanted.tensors().size());
  for (const TensorEntry& tensor : wanted.tensors()) {
    const TensorEntry* found = file.find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(file.bytes(*found), wanted.bytes(tensor))) << tensor.name;
  }
}

TEST_F(HuggingFaceTest, SplitsLargeModelsAndReadsThemByTheirIndex) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  write(model, folder_ / "out", ExportDType::f32, 200'000);

  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/model-00001-of-000004.safetensors"));
  const HuggingFaceModel again = open_huggingface(folder_ / "out");
  for (const WeightInfo& info : model.weights->list()) {
    EXPECT_EQ(read(*again.weights, info), read(*model.weights, info)) << info.name;
  }
}

TEST_F(HuggingFaceTest, AFolderAppearsWholeOrNotAtAll) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  {
    auto sink = create_huggingface({.folder = folder_ / "out",
                                    .model = model.model,
                                    .dtype = ExportDType::f32,
                                    .bos_token_id = -1,
                                    .eos_token_id = -1,
                                    .largest_file_bytes = 1 << 30});
    sink->write_f32("lm_head.weight", read(*model.weights, {"lm_head.weight", {128, 64}}));
    EXPECT_TRUE(std::filesystem::exists(sink->partial_folder() / "config.json"));
    EXPECT_THAT(error_of([&] { sink->finish(); }), HasSubstr("found nothing written"));
  }

  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(HuggingFaceTest, NeverWritesOverAnExistingFolder) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  std::filesystem::create_directory(folder_ / "out");

  EXPECT_THAT(error_of([&] { write(model, folder_ / "out", ExportDType::f32); }),
              HasSubstr("out: found a folder or file, wanted a name that is free"));
}

TEST_F(HuggingFaceTest, NamesAMissingTensor) {
  const auto folder = copy_of("plain");
  replace(folder / "model.safetensors", "model.norm.weight", "model.norm.xeight");

  EXPECT_EQ(open_error(folder),
            folder.string() + ": found no tensor model.norm.weight, wanted it of shape [64]");
}

TEST_F(HuggingFaceTest, NamesASurplusTensor) {
  const auto folder = copy_of("plain");
  replace(folder / "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
  replace(folder / "config.json", "\"num_nextn_predict_layers\": 1",
          "\"num_nextn_predict_layers\": 0");

  EXPECT_EQ(open_error(folder),
            (folder / "model.safetensors").string() +
                ": tensor model.layers.2.input_layernorm.weight: found shape [64], wanted no "
                "tensor of this name");
}

TEST_F(HuggingFaceTest, NamesAMisshapedTensor) {
  const auto folder = copy_of("plain");
  replace(folder / "config.json", "\"vocab_size\": 128", "\"vocab_size\": 129");

  EXPECT_EQ(open_error(folder),
            (folder / "model.safetensors").string() +
                ": tensor model.embed_tokens.weight: found shape [128, 64], wanted [129, 64]");
}

TEST_F(HuggingFaceTest, RefusesATensorOfAnotherKind) {
  const auto folder = copy_of("plain");
  replace(folder / "model.safetensors", "\"lm_head.weight\":{\"dtype\":\"F32\"",
          "\"lm_head.weight\":{\"dtype\":\"I32\"");

  EXPECT_THAT(open_error(folder), HasSubstr("tensor lm_head.weight: found I32, wanted F32, BF16"));
}

TEST_F(HuggingFaceTest, RefusesAnMtpLayerThatDoesNotShareTheEmbedding) {
  const auto folder = copy_of("yarn-mtp");
  const std::string name = "model.layers.3.embed_tokens.weight";
  uint64_t at = 0;
  {
    const SafetensorsFile file(folder / "model.safetensors");
    at = file.find(name)->begin + 4 * 5;
  }
  std::fstream file(folder / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write("\0\0\0\0", 4);
  file.close();

  EXPECT_THAT(
      open_error(folder),
      testing::AllOf(HasSubstr("tensor " + name + ": found 0.000000 at element 5, wanted "),
                     HasSubstr("as in model.embed_tokens.weight: the MTP layer shares it")));
}

TEST_F(HuggingFaceTest, RefusesFp8WithoutItsScales) {
  auto folder = copy_of("fp8");
  replace(folder / "config.json", "\"quantization_config\"", "\"quantization_konfig\"");
  EXPECT_THAT(open_error(folder), HasSubstr("found F8_E4M3, wanted another dtype: config.json has "
                                            "no quantization_config"));
  replace(folder / "config.json", "\"quantization_konfig\"", "\"quantization_config\"");
  replace(folder / "config.json", "128,\n      128", "64,\n      128");

  EXPECT_THAT(open_error(folder), HasSubstr("_scale_inv: found shape [1, 1], wanted [2, 1]"));
}

TEST_F(HuggingFaceTest, RefusesAnIndexThatDisagreesWithTheFiles) {
  const auto folder = copy_of("fp8");
  const auto index = folder / "model.safetensors.index.json";
  const std::string good = read_text(index);

  replace(index, "\"lm_head.weight\": \"model-00001", "\"lm_head.weight\": \"model-00002");
  EXPECT_THAT(open_error(folder), HasSubstr("weight_map.lm_head.weight: found no such tensor in "
                                            "model-00002-of-000002.safetensors"));
  write_text(index, good);
  replace(index, "\"model.norm.weight\": \"", "\"model.norm.weight\": \"../");
  EXPECT_THAT(open_error(folder), HasSubstr("wanted the name of a file in the folder"));
  write_text(index, good);
  replace(index, "\"model.norm.weight\"", "\"model.norm.other\"");
  EXPECT_THAT(open_error(folder), HasSubstr("weight_map.model.norm.other: found no such tensor"));
  std::filesystem::remove(folder / "model-00002-of-000002.safetensors");
  EXPECT_THAT(open_error(folder), HasSubstr("model-00002-of-000002.safetensors: cannot be opened"));
}

TEST_F(HuggingFaceTest, ReadsEveryFileOfAFolderWithoutAnIndex) {
  const auto folder = copy_of("fp8");
  std::filesystem::remove(folder / "model.safetensors.index.json");

  EXPECT_EQ(open_huggingface(folder).model.layers(), 2);
  std::filesystem::copy_file(folder / "model-00002-of-000002.safetensors",
                             folder / "model-00003.safetensors");
  EXPECT_THAT(open_error(folder), HasSubstr("wanted it once"));
}

TEST_F(HuggingFaceTest, RefusesAFolderWithoutAModel) {
  EXPECT_THAT(open_error(folder_), HasSubstr("config.json: No such file"));
  write_text(folder_ / "config.json", read_text(golden("plain/config.json")));
  EXPECT_THAT(open_error(folder_), HasSubstr("found no tensor, wanted a model in *.safetensors"));
}

TEST_F(HuggingFaceTest, RefusesAConfigurationThatCannotBe) {
  const auto folder = copy_of("plain");
  replace(folder / "config.json", "\"n_group\": 4", "\"n_group\": 3");

  EXPECT_EQ(open_error(folder), (folder / "config.json").string() +
                                    ": expert_groups: found 3, wanted a divisor of experts, 8");
}

// config.json of DeepSeek-V3 cannot say it, and no other is written in its name.
TEST_F(HuggingFaceTest, AModelWithoutMlaIsRefusedByName) {
  config::Model model = open_huggingface(golden("plain")).model;
  EXPECT_TRUE(has_huggingface_form(model));
  model.set_attention(config::Model::GQA);

  EXPECT_FALSE(has_huggingface_form(model));
  EXPECT_EQ(error_of([&] {
              create_huggingface({.folder = folder_ / "out", .model = model,
                                  .dtype = ExportDType::f32, .bos_token_id = -1,
                                  .eos_token_id = -1, .largest_file_bytes = 1 << 30});
            }),
            (folder_ / "out").string() + ": the model's attention: found GQA, wanted MLA: "
            "config.json of DeepSeek-V3 has no other");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

}  // namespace
}  // namespace troupe::runtime
