#include "runtime/checkpoint/huggingface_files.h"

#include <algorithm>
#include <set>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/files.h"
#include "runtime/checkpoint/json_fields.h"

namespace troupe::runtime {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t largest_index_bytes = 256 << 20;

std::vector<fs::path> safetensors_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  }
  if (failure) throw CheckpointError(folder.string() + ": " + failure.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// File by tensor, as the index has it. A name that leads out of the folder is refused.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const nlohmann::json object = parse_object(read_file(path, largest_index_bytes), path.string());
  const JsonFields fields(object, path.string() + ": ");
  fields.section("weight_map");
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : object.at("weight_map").items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || fs::path(name).filename().string() != name) {
      throw CheckpointError(path.string() + ": weight_map." + tensor + ": found " + file.dump() +
                            ", wanted the name of a file in the folder");
    }
    files[tensor] = name;
  }
  return files;
}

}  // namespace

HuggingFaceFiles::HuggingFaceFiles(const fs::path& folder) {
  std::error_code ignored;
  const fs::path index = folder / "model.safetensors.index.json";
  const fs::path single = folder / "model.safetensors";
  if (fs::exists(index, ignored)) {
    open_indexed(index);
  } else if (fs::exists(single, ignored)) {
    open_file(single);
  } else {
    for (const fs::path& path : safetensors_in(folder)) open_file(path);
  }
  if (tensors_.empty()) {
    throw CheckpointError(folder.string() + ": found no tensor, wanted a model in *.safetensors");
  }
}

void HuggingFaceFiles::open_file(const fs::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  const SafetensorsFile* file = files_.back().get();
  for (const TensorEntry& entry : file->tensors()) {
    const auto [other, is_new] = tensors_.emplace(entry.name, StoredTensor{file, &entry});
    if (!is_new) {
      throw CheckpointError(path.string() + ": found tensor " + entry.name + ", which is in " +
                            other->second.file->path().string() + " too, wanted it once");
    }
  }
}

void HuggingFaceFiles::open_indexed(const fs::path& index) {
  const auto wanted = read_index(index);
  std::set<std::string> names;
  for (const auto& [tensor, file] : wanted) names.insert(file);
  for (const std::string& name : names) open_file(index.parent_path() / name);
  for (const auto& [tensor, file] : wanted) {
    const StoredTensor* stored = find(tensor);
    if (stored == nullptr || stored->file->path().filename() != file) {
      throw CheckpointError(index.string() + ": weight_map." + tensor +
                            ": found no such tensor in " + file + ", wanted it there");
    }
  }
  for (const auto& [tensor, stored] : tensors_) {
    if (!wanted.contains(tensor)) {
      throw CheckpointError(stored.file->path().string() + ": found tensor " + tensor +
                            ", wanted those of " + index.filename().string() + " alone");
    }
  }
}

const StoredTensor* HuggingFaceFiles::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace troupe::runtime
