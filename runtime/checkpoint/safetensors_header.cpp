#include "runtime/checkpoint/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/header_reader.h"

namespace troupe::runtime {

namespace {

struct DTypeRow {
  FileDType dtype;
  std::string_view name;
  int64_t bytes;
};

constexpr DTypeRow dtypes[] = {
    {FileDType::boolean, "BOOL", 1},    {FileDType::u8, "U8", 1},
    {FileDType::i8, "I8", 1},           {FileDType::f8_e4m3, "F8_E4M3", 1},
    {FileDType::f8_e5m2, "F8_E5M2", 1}, {FileDType::u16, "U16", 2},
    {FileDType::i16, "I16", 2},         {FileDType::f16, "F16", 2},
    {FileDType::bf16, "BF16", 2},       {FileDType::u32, "U32", 4},
    {FileDType::i32, "I32", 4},         {FileDType::f32, "F32", 4},
    {FileDType::u64, "U64", 8},         {FileDType::i64, "I64", 8},
    {FileDType::f64, "F64", 8},
};

const DTypeRow& row_of(FileDType dtype) { return dtypes[static_cast<size_t>(dtype)]; }

uint64_t header_length(std::span<const uint8_t> file, const std::string& name) {
  if (file.size() < 8) {
    throw CheckpointError(name + ": found " + std::to_string(file.size()) +
                          " bytes, wanted a safetensors file of at least 8");
  }
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | file[static_cast<size_t>(i)];
  const uint64_t most = std::min<uint64_t>(file.size() - 8, largest_header_bytes);
  if (length > most) {
    throw CheckpointError(name + ": found a header of " + std::to_string(length) +
                          " bytes, wanted at most " + std::to_string(most));
  }
  return length;
}

/// The bytes that dtype and shape ask for must be those between the offsets.
void check_size(const TensorEntry& tensor, const std::string& name) {
  uint64_t bytes = static_cast<uint64_t>(size_of(tensor.dtype));
  bool fits = tensor.begin <= tensor.end;
  for (int64_t n : tensor.shape) {
    fits = fits && !__builtin_mul_overflow(bytes, static_cast<uint64_t>(n), &bytes);
  }
  if (fits && bytes == tensor.end - tensor.begin) return;
  throw CheckpointError(name + ": tensor " + tensor.name + ": found data_offsets [" +
                        std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) +
                        "], wanted the bytes of " + std::string(to_string(tensor.dtype)) + " " +
                        shape_text(tensor.shape));
}

/// Sorts the tensors and checks that they fill `bytes` exactly.
void check_layout(std::vector<TensorEntry>& tensors, uint64_t bytes, const std::string& name) {
  for (const TensorEntry& tensor : tensors) check_size(tensor, name);
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t next = 0;
  for (const TensorEntry& tensor : tensors) {
    if (tensor.begin != next) {
      throw CheckpointError(name + ": tensor " + tensor.name + " begins at byte " +
                            std::to_string(tensor.begin) + " of the data, wanted " +
                            std::to_string(next) + ", where the one before ends");
    }
    next = tensor.end;
  }
  if (next != bytes) {
    throw CheckpointError(name + ": found " + std::to_string(bytes) +
                          " bytes of data, wanted the tensors' " + std::to_string(next));
  }
}

}  // namespace

int64_t size_of(FileDType dtype) { return row_of(dtype).bytes; }
std::string_view to_string(FileDType dtype) { return row_of(dtype).name; }

int64_t TensorEntry::count() const {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  return n;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

SafetensorsHeader parse_header(std::span<const uint8_t> file, const std::string& name) {
  const uint64_t length = header_length(file, name);
  HeaderReader reader(name);
  const auto* begin = file.data() + 8;
  nlohmann::json::sax_parse(begin, begin + length, &reader);
  SafetensorsHeader header = reader.take();
  check_layout(header.tensors, file.size() - 8 - length, name);
  for (TensorEntry& tensor : header.tensors) {
    tensor.begin += 8 + length;
    tensor.end += 8 + length;
  }
  return header;
}

std::string make_header(std::vector<TensorEntry>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t next = 0;
  for (TensorEntry& tensor : tensors) {
    tensor.begin = next;
    next += static_cast<uint64_t>(tensor.count() * size_of(tensor.dtype));
    tensor.end = next;
    json[tensor.name] = {{"dtype", to_string(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string prefix(8, '\0');
  for (size_t i = 0; i < 8; ++i) prefix[i] = static_cast<char>(length >> (8 * i));
  for (TensorEntry& tensor : tensors) {
    tensor.begin += 8 + length;
    tensor.end += 8 + length;
  }
  return prefix + text;
}

std::optional<FileDType> dtype_named(std::string_view name) {
  for (const DTypeRow& row : dtypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace troupe::runtime
