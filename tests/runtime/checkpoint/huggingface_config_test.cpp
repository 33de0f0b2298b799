#include "runtime/checkpoint/huggingface_config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "config/load.h"
#include "tests/runtime/checkpoint/fixtures.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;

/// config.json of a golden case with `from` replaced by `to`.
std::string edited_error(const std::string& name, const std::string& from, const std::string& to) {
  std::string text = read_text(golden(name + "/config.json"));
  const size_t at = text.find(from);
  if (at == std::string::npos) return "no " + from;
  text.replace(at, from.size(), to);
  return error_of([&] { parse_huggingface_config(text, "c"); });
}

TEST(HuggingFaceConfig, ReadsTheStyleOfTransformers) {
  const HuggingFaceConfig config = read_huggingface_config(golden("yarn-mtp"));

  EXPECT_EQ(config.model.layers(), 3);
  EXPECT_EQ(config.model.mtp_layers(), 1);
  EXPECT_EQ(config.model.shared_experts(), 2);
  EXPECT_EQ(config.model.rope_theta(), 10000);
  EXPECT_EQ(config.model.yarn().factor(), 40);
  EXPECT_EQ(config.model.yarn().original_max_position(), 16);
  EXPECT_EQ(config.model.yarn().mscale_all_dim(), 1);
  EXPECT_EQ(config.model.init_std(), 0.2);
  EXPECT_FALSE(config.quantization_block.has_value());
  EXPECT_EQ(config.eos_token_id, 1);
}

TEST(HuggingFaceConfig, ReadsTheReleasedStyle) {
  const HuggingFaceConfig config = read_huggingface_config(golden("fp8"));

  EXPECT_EQ(config.model.mtp_layers(), 0);
  EXPECT_EQ(config.model.yarn().factor(), 40);
  EXPECT_EQ(config.model.yarn().original_max_position(), 4096);
  EXPECT_EQ(config.model.max_positions(), 163840);
  EXPECT_THAT(*config.quantization_block, testing::ElementsAre(128, 128));
  EXPECT_FALSE(read_huggingface_config(golden("plain")).model.has_yarn());
}

TEST(HuggingFaceConfig, TakesModelsWithoutALatentForQueries) {
  const std::string text = read_text(golden("plain/config.json"));
  for (const char* to : {"\"q_lora_rank\": null,", ""}) {
    std::string edited = text;
    edited.replace(edited.find("\"q_lora_rank\": 24,"), 18, to);
    EXPECT_EQ(parse_huggingface_config(edited, "c").model.q_lora_rank(), 0);
  }
}

TEST(HuggingFaceConfig, RefusesOtherArchitectures) {
  EXPECT_EQ(edited_error("plain", "\"deepseek_v3\"", "\"deepseek_v2\""),
            "c: model_type: found deepseek_v2, wanted deepseek_v3");
  EXPECT_EQ(edited_error("plain", "\"silu\"", "\"gelu\""),
            "c: hidden_act: found gelu, wanted silu");
  EXPECT_EQ(edited_error("fp8", "\"sigmoid\"", "\"softmax\""),
            "c: scoring_func: found softmax, wanted sigmoid");
  EXPECT_EQ(edited_error("plain", "\"attention_bias\": false", "\"attention_bias\": true"),
            "c: attention_bias: found true, wanted false");
  EXPECT_EQ(edited_error("plain", "\"rope_interleave\": true", "\"rope_interleave\": false"),
            "c: rope_interleave: found false, wanted true");
  EXPECT_EQ(edited_error("plain", "\"num_key_value_heads\": 4", "\"num_key_value_heads\": 2"),
            "c: num_key_value_heads: found 2, wanted num_attention_heads, 4");
  EXPECT_EQ(edited_error("plain", "\"rope_type\": \"default\"", "\"rope_type\": \"llama3\""),
            "c: rope_parameters.rope_type: found llama3, wanted default or yarn");
  EXPECT_EQ(edited_error("fp8", "\"quant_method\": \"fp8\"", "\"quant_method\": \"awq\""),
            "c: quantization_config.quant_method: found awq, wanted fp8");
}

TEST(HuggingFaceConfig, RefusesWrongAndMissingValues) {
  EXPECT_EQ(edited_error("plain", "\"hidden_size\": 64", "\"hidden_size\": -64"),
            "c: hidden_size: found -64, wanted a whole number of 0 to 2147483647");
  EXPECT_THAT(edited_error("plain", "\"hidden_size\": 64", "\"hidden_size\": 1e99"),
              HasSubstr("hidden_size: found 1e+99"));
  EXPECT_THAT(edited_error("plain", "\"hidden_size\": 64", "\"hidden_size\": 18446744073709551615"),
              HasSubstr("hidden_size: found 18446744073709551615"));
  EXPECT_EQ(edited_error("plain", "\"hidden_size\": 64", "\"hidden_sizes\": 64"),
            "c: hidden_size: found nothing, wanted a whole number");
  EXPECT_EQ(edited_error("plain", "\"norm_topk_prob\": true", "\"norm_topk_prob\": 1"),
            "c: norm_topk_prob: found 1, wanted true or false");
  EXPECT_EQ(edited_error("plain", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": \"x\""),
            "c: rms_norm_eps: found \"x\", wanted a number");
  EXPECT_EQ(edited_error("yarn-mtp", "\"mscale\": 1.0", "\"mscale\": null"),
            "c: rope_parameters.mscale: found nothing, wanted it with mscale_all_dim");
  EXPECT_EQ(error_of([] { parse_huggingface_config("[1]", "c"); }),
            "c: found what is no JSON object in UTF-8, wanted one");
  EXPECT_EQ(error_of([] { parse_huggingface_config("{\"a\":", "c"); }),
            "c: found what is no JSON object in UTF-8, wanted one");
}

TEST(HuggingFaceConfig, IsWrittenAsItIsRead) {
  for (const char* name : {"tiny", "small", "deepseek_16b", "deepseek_v3"}) {
    const config::Model model =
        config::load_model(std::filesystem::path(TROUPE_SOURCE_DIR) / "config/models" /
                           (std::string(name) + ".textproto"))
            .model;

    const std::string text = huggingface_config_text(
        {.model = model, .dtype = "float32", .bos_token_id = 0, .eos_token_id = -1});
    const HuggingFaceConfig read = parse_huggingface_config(text, "c");

    google::protobuf::util::MessageDifferencer differ;
    differ.set_message_field_comparison(
        google::protobuf::util::MessageDifferencer::EQUIVALENT);  // unset and default are the same
    std::string difference;
    differ.ReportDifferencesToString(&difference);
    EXPECT_TRUE(differ.Compare(model, read.model)) << name << ": " << difference;
    EXPECT_EQ(read.bos_token_id, 0);
    EXPECT_EQ(read.eos_token_id, -1);
  }
}

}  // namespace
}  // namespace troupe::runtime
