#include <algorithm>
#include <bit>
#include <set>

#include "config/text/errors.h"
#include "config/validate.h"
#include "kernels/ops/quantize.h"
#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/huggingface.h"
#include "runtime/checkpoint/huggingface_config.h"
#include "runtime/checkpoint/huggingface_files.h"
#include "runtime/model_shape.h"

namespace troupe::runtime {

namespace {

namespace fs = std::filesystem;

constexpr const char* embedding_name = "model.embed_tokens.weight";
constexpr const char* head_name = "lm_head.weight";
constexpr const char* scale_ending = "_scale_inv";

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

bool is_float(FileDType dtype) {
  return dtype == FileDType::f32 || dtype == FileDType::bf16 || dtype == FileDType::f16 ||
         dtype == FileDType::f64 || dtype == FileDType::f8_e4m3;
}

/// Weights in a folder's files. Everything is checked when it is made.
class FolderWeights : public WeightSource {
 public:
  FolderWeights(const fs::path& folder, std::unique_ptr<HuggingFaceFiles> files,
                const HuggingFaceConfig& config)
      : folder_(folder),
        files_(std::move(files)),
        config_(config),
        list_(weight_list(config.model)) {
    for (const WeightInfo& info : list_) {
      expect(info);
      const std::string copy = repeated_name(config.model, info.name);
      if (!copy.empty() && files_->find(copy) != nullptr) {
        expect({copy, info.shape});
        copies_.emplace_back(info, copy);
      }
    }
    refuse_surplus();
    for (const auto& [info, copy] : copies_) check_copy(info, copy);
  }

  const std::vector<WeightInfo>& list() const override { return list_; }

  void read_f32(std::string_view name, std::span<float> out) const override {
    const StoredTensor* stored = files_->find(name);
    if (stored == nullptr || !expected_.contains(std::string(name))) {
      throw CheckpointError(folder_.string() + ": found no tensor " + std::string(name) +
                            ", wanted one of the model");
    }
    if (stored->entry->dtype != FileDType::f8_e4m3) {
      return stored->file->read_f32(*stored->entry, out);
    }
    const StoredTensor& scales = *files_->find(std::string(name) + scale_ending);
    std::vector<float> scale_values(static_cast<size_t>(scales.entry->count()));
    scales.file->read_f32(*scales.entry, scale_values);
    kernels::dequantize_blocks({.codes = stored->file->bytes(*stored->entry),
                                .rows = stored->entry->shape[0],
                                .cols = stored->entry->shape[1],
                                .scales = scale_values,
                                .block_rows = (*config_.quantization_block)[0],
                                .block_cols = (*config_.quantization_block)[1],
                                .out = out});
  }

 private:
  [[noreturn]] void refuse(const StoredTensor& stored, const std::string& found,
                           const std::string& wanted) const {
    throw CheckpointError(stored.file->path().string() + ": tensor " + stored.entry->name +
                          ": found " + found + ", wanted " + wanted);
  }

  /// Checks one tensor of the model, and its scales if it is quantised.
  void expect(const WeightInfo& info) {
    const StoredTensor* stored = files_->find(info.name);
    if (stored == nullptr) {
      throw CheckpointError(folder_.string() + ": found no tensor " + info.name +
                            ", wanted it of shape " + shape_text(info.shape));
    }
    expected_.insert(info.name);
    const TensorEntry& entry = *stored->entry;
    if (entry.shape != info.shape) {
      refuse(*stored, "shape " + shape_text(entry.shape), shape_text(info.shape));
    }
    if (!is_float(entry.dtype)) {
      refuse(*stored, std::string(to_string(entry.dtype)), "F32, BF16, F16, F64 or F8_E4M3");
    }
    if (entry.dtype == FileDType::f8_e4m3) expect_scales(*stored);
  }

  void expect_scales(const StoredTensor& stored) {
    const TensorEntry& entry = *stored.entry;
    if (!config_.quantization_block) {
      refuse(stored, "F8_E4M3", "another dtype: config.json has no quantization_config");
    }
    if (entry.shape.size() != 2)
      refuse(stored, "F8_E4M3 of shape " + shape_text(entry.shape), "a matrix");
    const auto& block = *config_.quantization_block;
    const std::vector<int64_t> wanted{blocks_of(entry.shape[0], block[0]),
                                      blocks_of(entry.shape[1], block[1])};
    const StoredTensor* scales = files_->find(entry.name + scale_ending);
    if (scales == nullptr) {
      refuse(stored, "F8_E4M3 without " + entry.name + scale_ending,
             "scales of shape " + shape_text(wanted));
    }
    expected_.insert(scales->entry->name);
    if (scales->entry->shape != wanted) {
      refuse(*scales, "shape " + shape_text(scales->entry->shape), shape_text(wanted));
    }
    if (scales->entry->dtype != FileDType::f32) {
      refuse(*scales, std::string(to_string(scales->entry->dtype)), "F32");
    }
  }

  void refuse_surplus() const {
    for (const auto& [name, stored] : files_->tensors()) {
      // Older exports hold the rotary frequencies, which follow from the configuration.
      if (expected_.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      refuse(stored, "shape " + shape_text(stored.entry->shape), "no tensor of this name");
    }
  }

  void check_copy(const WeightInfo& info, const std::string& copy) const {
    std::vector<float> shared(static_cast<size_t>(info.count()));
    std::vector<float> repeated(shared.size());
    read_f32(info.name, shared);
    read_f32(copy, repeated);
    const auto same = [](float a, float b) {
      return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    };
    const auto [at, other] = std::mismatch(shared.begin(), shared.end(), repeated.begin(), same);
    if (at == shared.end()) return;
    refuse(*files_->find(copy),
           std::to_string(*other) + " at element " + std::to_string(at - shared.begin()),
           std::to_string(*at) + " as in " + info.name + ": the MTP layer shares it");
  }

  fs::path folder_;
  std::unique_ptr<HuggingFaceFiles> files_;
  HuggingFaceConfig config_;
  std::vector<WeightInfo> list_;
  std::set<std::string> expected_;
  std::vector<std::pair<WeightInfo, std::string>> copies_;
};

bool has_layer(const HuggingFaceFiles& files, int32_t layer) {
  const std::string prefix = kernels::layer_prefix(layer);
  const auto found = files.tensors().lower_bound(prefix);
  return found != files.tensors().end() && found->first.starts_with(prefix);
}

void validate_model(const fs::path& folder, const config::Model& model) {
  try {
    config::validate(
        config::LoadedModel{model, config::Origins((folder / "config.json").string())});
  } catch (const config::ConfigError& error) {
    throw CheckpointError(error.what());
  }
}

}  // namespace

std::vector<WeightInfo> weight_list(const config::Model& model) {
  std::vector<WeightInfo> list;
  for (const kernels::ParameterSpec& spec : kernels::parameters(model_shape(model))) {
    list.push_back({spec.name, spec.shape});
  }
  for (int32_t layer = model.dense_layers(); layer < model.layers() + model.mtp_layers(); ++layer) {
    list.push_back({kernels::routing_bias_name(layer), {model.experts()}});
  }
  return list;
}

std::string repeated_name(const config::Model& model, const std::string& name) {
  if (model.mtp_layers() == 0) return "";
  const std::string prefix = kernels::layer_prefix(model.layers());
  if (name == embedding_name) return prefix + "embed_tokens.weight";
  if (name == head_name) return prefix + "shared_head.head.weight";
  return "";
}

HuggingFaceModel open_huggingface(const fs::path& folder) {
  HuggingFaceConfig config = read_huggingface_config(folder);
  auto files = std::make_unique<HuggingFaceFiles>(folder);
  HuggingFaceModel result;
  if (config.model.mtp_layers() > 0 && !has_layer(*files, config.model.layers())) {
    result.notes.push_back(folder.string() + ": config.json names " +
                           std::to_string(config.model.mtp_layers()) +
                           " MTP layer(s), the weights have none: loaded without");
    config.model.set_mtp_layers(0);
  }
  validate_model(folder, config.model);
  result.model = config.model;
  result.bos_token_id = config.bos_token_id;
  result.eos_token_id = config.eos_token_id;
  result.weights = std::make_unique<FolderWeights>(folder, std::move(files), config);
  return result;
}

}  // namespace troupe::runtime
