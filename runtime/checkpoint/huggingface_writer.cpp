#include <cstdio>
#include <nlohmann/json.hpp>

#include "kernels/ops/quantize.h"
#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/files.h"
#include "runtime/checkpoint/huggingface.h"
#include "runtime/checkpoint/huggingface_config.h"
#include "runtime/checkpoint/safetensors.h"

namespace troupe::runtime {

namespace {

namespace fs = std::filesystem;

FileDType dtype_of(const std::string& name, ExportDType dtype) {
  return stays_f32(name) || dtype == ExportDType::f32 ? FileDType::f32 : FileDType::bf16;
}

/// The tensors of a folder as they stand in its files, the repeated ones of the MTP layer included.
std::vector<TensorEntry> entries_of(const HuggingFaceWriterArgs& args,
                                    const std::vector<WeightInfo>& list) {
  std::vector<TensorEntry> entries;
  for (const WeightInfo& info : list) {
    const FileDType dtype = dtype_of(info.name, args.dtype);
    entries.push_back({info.name, dtype, info.shape, 0, 0});
    const std::string copy = repeated_name(args.model, info.name);
    if (!copy.empty()) entries.push_back({copy, dtype, info.shape, 0, 0});
  }
  return entries;
}

/// Cuts the list into files of at most `largest` bytes, or of one tensor.
std::vector<std::vector<TensorEntry>> split(const std::vector<TensorEntry>& entries,
                                            int64_t largest) {
  std::vector<std::vector<TensorEntry>> files(1);
  int64_t bytes = 0;
  for (const TensorEntry& entry : entries) {
    const int64_t size = entry.count() * size_of(entry.dtype);
    if (!files.back().empty() && bytes + size > largest) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(entry);
    bytes += size;
  }
  return files;
}

std::string file_name(size_t number, size_t of) {
  if (of == 1) return "model.safetensors";
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%06zu.safetensors", number + 1, of);
  return text;
}

/// A folder that vanishes unless it is published.
class PartialFolder {
 public:
  explicit PartialFolder(const fs::path& folder) : folder_(folder), path_(partial_path(folder)) {
    std::error_code failure;
    if (fs::exists(folder_, failure)) {
      throw CheckpointError(folder_.string() +
                            ": found a folder or file, wanted a name that is free");
    }
    fs::remove_all(path_, failure);  // of an earlier process of this number
    if (!fs::create_directories(path_, failure)) {
      throw CheckpointError(path_.string() + ": cannot be made: " + failure.message());
    }
  }
  ~PartialFolder() {
    std::error_code ignored;
    if (!published_) fs::remove_all(path_, ignored);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  const fs::path& path() const { return path_; }

  void publish() {
    make_durable(path_);
    runtime::publish(path_, folder_);
    published_ = true;
  }

 private:
  fs::path folder_;
  fs::path path_;
  bool published_ = false;
};

class FolderSink : public HuggingFaceSink {
 public:
  explicit FolderSink(const HuggingFaceWriterArgs& args)
      : model_(args.model), partial_(args.folder), list_(weight_list(args.model)) {
    write_file(
        partial_.path() / "config.json",
        huggingface_config_text({.model = args.model,
                                 .dtype = args.dtype == ExportDType::f32 ? "float32" : "bfloat16",
                                 .bos_token_id = args.bos_token_id,
                                 .eos_token_id = args.eos_token_id}));
    open_files(split(entries_of(args, list_), args.largest_file_bytes));
  }

  const fs::path& partial_folder() const override { return partial_.path(); }
  const std::vector<WeightInfo>& list() const override { return list_; }

  void write_f32(std::string_view name, std::span<const float> values) override {
    write_one(std::string(name), values);
    const std::string copy = repeated_name(model_, std::string(name));
    if (!copy.empty()) write_one(copy, values);
  }

  void finish() override {
    for (auto& writer : writers_) writer->finish();
    writers_.clear();
    if (!index_.empty()) write_file(partial_.path() / "model.safetensors.index.json", index_);
    partial_.publish();
  }

 private:
  struct Place {
    size_t file;
    FileDType dtype;
  };

  void open_files(const std::vector<std::vector<TensorEntry>>& files) {
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    int64_t total = 0;
    for (size_t i = 0; i < files.size(); ++i) {
      const std::string name = file_name(i, files.size());
      for (const TensorEntry& entry : files[i]) {
        places_[entry.name] = {i, entry.dtype};
        map[entry.name] = name;
        total += entry.count() * size_of(entry.dtype);
      }
      writers_.push_back(std::make_unique<SafetensorsWriter>(partial_.path() / name, files[i]));
    }
    if (files.size() == 1) return;
    const nlohmann::ordered_json index{{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    index_ = index.dump(2) + "\n";
  }

  void write_one(const std::string& name, std::span<const float> values) {
    const auto place = places_.find(name);
    if (place == places_.end()) {
      throw CheckpointError(partial_.path().string() + ": found tensor " + name +
                            ", wanted one of the model");
    }
    SafetensorsWriter& writer = *writers_[place->second.file];
    const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
    if (place->second.dtype == FileDType::f32)
      return writer.write(name, {bytes, values.size_bytes()});
    std::vector<uint16_t> rounded(values.size());
    for (size_t i = 0; i < values.size(); ++i) rounded[i] = kernels::f32_to_bf16(values[i]);
    writer.write(name, {reinterpret_cast<const uint8_t*>(rounded.data()), 2 * rounded.size()});
  }

  config::Model model_;
  PartialFolder partial_;
  std::vector<WeightInfo> list_;
  std::map<std::string, Place, std::less<>> places_;
  std::vector<std::unique_ptr<SafetensorsWriter>> writers_;
  std::string index_;
};

}  // namespace

bool stays_f32(const std::string& name) { return name.ends_with(".e_score_correction_bias"); }

bool has_huggingface_form(const config::Model& model) {
  return model.attention() == config::Model::MLA;
}

std::unique_ptr<HuggingFaceSink> create_huggingface(const HuggingFaceWriterArgs& args) {
  if (!has_huggingface_form(args.model)) {
    throw CheckpointError(args.folder.string() + ": the model's attention: found " +
                          config::Model::Attention_Name(args.model.attention()) +
                          ", wanted MLA: config.json of DeepSeek-V3 has no other");
  }
  return std::make_unique<FolderSink>(args);
}

}  // namespace troupe::runtime
