// The header of a safetensors file: 8 bytes of little-endian length, so many bytes of JSON, then
// the tensors. Source: https://github.com/huggingface/safetensors, README, "Format".
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::runtime {

enum class FileDType : uint8_t {
  boolean,
  u8,
  i8,
  f8_e4m3,
  f8_e5m2,
  u16,
  i16,
  f16,
  bf16,
  u32,
  i32,
  f32,
  u64,
  i64,
  f64
};

/// Bytes of one element.
int64_t size_of(FileDType dtype);

/// "F8_E4M3", as it stands in the file.
std::string_view to_string(FileDType dtype);

struct TensorEntry {
  std::string name;
  FileDType dtype;
  std::vector<int64_t> shape;
  uint64_t begin;  ///< first byte, counted from the start of the file
  uint64_t end;    ///< one past the last byte

  int64_t count() const;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;             ///< ascending by `begin`
  std::map<std::string, std::string> metadata;  ///< of `__metadata__`
};

/// As the format's own reader allows.
constexpr uint64_t largest_header_bytes = 100'000'000;

/// Reads the header of a file whose bytes are `file`. `name` stands for it in messages.
///
/// Throws CheckpointError unless the header is of the format, names no tensor twice, and the
/// tensors fill the rest of the file without gap or overlap.
SafetensorsHeader parse_header(std::span<const uint8_t> file, const std::string& name);

/// The header of a file that holds `tensors` in this order, with its length in front and spaces
/// behind so that the first tensor is aligned to 8 bytes. Sets `begin` and `end` of each.
std::string make_header(std::vector<TensorEntry>& tensors,
                        const std::map<std::string, std::string>& metadata);

/// "[2, 3]".
std::string shape_text(std::span<const int64_t> shape);

}  // namespace troupe::runtime
