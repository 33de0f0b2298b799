// Reading and writing safetensors files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/safetensors_header.h"
#include "runtime/data/mapped_file.h"

namespace troupe::runtime {

/// A safetensors file, mapped: nothing is read before it is asked for. The file must not be cut
/// shorter while this lives.
class SafetensorsFile {
 public:
  /// Throws CheckpointError if the file cannot be read or is not of the format.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<TensorEntry>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// Null if there is no such tensor.
  const TensorEntry* find(std::string_view name) const;

  /// The tensor's bytes, little-endian, perhaps not aligned. `tensor` is one of tensors().
  std::span<const uint8_t> bytes(const TensorEntry& tensor) const {
    return file_.bytes().subspan(tensor.begin, tensor.end - tensor.begin);
  }

  /// Converts a tensor of floating-point numbers (F32, F64, BF16, F16, F8_E4M3) to f32; `out` has
  /// its count. Throws CheckpointError for another dtype.
  void read_f32(const TensorEntry& tensor, std::span<float> out) const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

/// Writes a safetensors file whose tensors are known beforehand, in any order and without holding
/// them. Until finish() the file has another name; without it, it is removed again.
class SafetensorsWriter {
 public:
  /// `tensors` in the order in which they shall lie; begin and end are set here. Throws
  /// CheckpointError if the file cannot be made or a name stands twice.
  SafetensorsWriter(std::filesystem::path path, std::vector<TensorEntry> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// Writes all bytes of a tensor. Throws CheckpointError if there is no such tensor, its size is
  /// another, it was written before, or the disk refuses.
  void write(std::string_view name, std::span<const uint8_t> bytes);

  /// Makes the file durable and gives it its name. Throws CheckpointError if a tensor is missing.
  void finish();

 private:
  void write_at(uint64_t offset, std::span<const uint8_t> bytes);

  std::filesystem::path path_;
  std::filesystem::path partial_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::vector<bool> written_;
  int file_ = -1;
};

}  // namespace troupe::runtime
