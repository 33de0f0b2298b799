// config.json of a Hugging Face folder of the DeepSeek-V3 architecture.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "config/proto/model.pb.h"

namespace troupe::runtime {

struct HuggingFaceConfig {
  config::Model model;
  /// Rows and columns of a block of FP8 weights that shares one scale; none if the weights are not
  /// quantised.
  std::optional<std::array<int64_t, 2>> quantization_block;
  int32_t bos_token_id = -1;  ///< -1: none
  int32_t eos_token_id = -1;  ///< -1: none; the first of several
};

/// Reads the released style (rope_theta, rope_scaling, quantization_config) and that of
/// transformers 5 (rope_parameters). Throws CheckpointError, naming field, found and wanted, for
/// values of another architecture; the model is not validated further.
HuggingFaceConfig parse_huggingface_config(const std::string& text, const std::string& file);
HuggingFaceConfig read_huggingface_config(const std::filesystem::path& folder);

struct HuggingFaceConfigArgs {
  const config::Model& model;
  std::string dtype;     ///< "float32" or "bfloat16"
  int32_t bos_token_id;  ///< -1: none
  int32_t eos_token_id;  ///< -1: none
};

/// A config.json that transformers 5 loads as DeepseekV3ForCausalLM.
std::string huggingface_config_text(const HuggingFaceConfigArgs& args);

}  // namespace troupe::runtime
