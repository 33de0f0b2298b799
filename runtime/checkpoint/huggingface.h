// Models as Hugging Face folders with the names of DeepSeek-V3's released weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "config/proto/model.pb.h"
#include "runtime/checkpoint/weights.h"

namespace troupe::runtime {

/// Every tensor of a model: the trained ones and, for each MoE layer, the routing bias.
std::vector<WeightInfo> weight_list(const config::Model& model);

struct HuggingFaceModel {
  config::Model model;  ///< valid
  std::unique_ptr<WeightSource> weights;
  std::vector<std::string> notes;  ///< what a user should know, a sentence each
  int32_t bos_token_id = -1;       ///< of config.json; -1: none
  int32_t eos_token_id = -1;
};

/// Opens a folder of config.json and *.safetensors (F32, BF16, F16, F64, or E4M3 with a
/// `weight_scale_inv` per block).
///
/// Every tensor is checked against the model before anything is read: a missing, surplus or
/// misshaped one throws CheckpointError with its name, found and wanted. The MTP layer repeats
/// embedding and head; if they differ from the shared ones the folder is refused. If config.json
/// names MTP layers of which there is no tensor, the model has none and a note says so.
HuggingFaceModel open_huggingface(const std::filesystem::path& folder);

enum class ExportDType { f32, bf16 };

/// Whether a tensor is written in F32 whatever the folder's dtype is: the routing bias, as
/// released.
bool stays_f32(const std::string& name);

struct HuggingFaceWriterArgs {
  std::filesystem::path folder;  ///< must not exist
  const config::Model& model;    ///< valid
  ExportDType dtype;             ///< of the tensors that do not stay F32
  int32_t bos_token_id;          ///< -1: none
  int32_t eos_token_id;          ///< -1: none
  int64_t largest_file_bytes;    ///< weights are split over several files above it; 5 GB is usual
};

/// A folder that transformers loads. It appears under its name at finish(), complete.
class HuggingFaceSink : public WeightSink {
 public:
  /// Where further files (tokenizer.json) may be put before finish().
  virtual const std::filesystem::path& partial_folder() const = 0;
};

/// Whether config.json of DeepSeek-V3 can say what the model is: its attention is MLA.
bool has_huggingface_form(const config::Model& model);

/// Throws CheckpointError if the folder exists or cannot be made, or the model has no such form.
std::unique_ptr<HuggingFaceSink> create_huggingface(const HuggingFaceWriterArgs& args);

/// "model.layers.61.embed_tokens.weight": the MTP layer's copy of a shared tensor in the released
/// weights; empty if `name` is not shared or the model has no MTP layer.
std::string repeated_name(const config::Model& model, const std::string& name);

}  // namespace troupe::runtime
