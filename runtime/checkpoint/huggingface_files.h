// The safetensors files of a Hugging Face folder as one list of tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/safetensors.h"

namespace troupe::runtime {

/// A tensor and the file that holds it.
struct StoredTensor {
  const SafetensorsFile* file;
  const TensorEntry* entry;
};

/// Opens the files that model.safetensors.index.json names; without it model.safetensors; without
/// that every *.safetensors of the folder.
class HuggingFaceFiles {
 public:
  /// Throws CheckpointError if there is no file, the index and the files disagree, or two files
  /// hold a tensor of the same name.
  explicit HuggingFaceFiles(const std::filesystem::path& folder);

  /// By name, ascending.
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }

  /// Null if there is no such tensor.
  const StoredTensor* find(std::string_view name) const;

 private:
  void open_indexed(const std::filesystem::path& index);
  void open_file(const std::filesystem::path& path);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

}  // namespace troupe::runtime
