#include "runtime/checkpoint/safetensors.h"

#include <bit>
#include <cstring>

#include "kernels/ops/quantize.h"
#include "runtime/checkpoint/error.h"
#include "runtime/data/error.h"

namespace troupe::runtime {

static_assert(std::endian::native == std::endian::little);

namespace {

MappedFile map(const std::filesystem::path& path) {
  try {
    return MappedFile(path);
  } catch (const DataError& error) {
    throw CheckpointError(error.what());
  }
}

/// Reads elements of type T, wherever they lie, and converts each.
template <class T, class Convert>
void convert_all(std::span<const uint8_t> bytes, std::span<float> out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = convert(value);
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path), file_(map(path)), header_(parse_header(file_.bytes(), path.string())) {
  for (size_t i = 0; i < header_.tensors.size(); ++i) by_name_[header_.tensors[i].name] = i;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.tensors[found->second];
}

void SafetensorsFile::read_f32(const TensorEntry& tensor, std::span<float> out) const {
  const auto count = static_cast<size_t>(tensor.count());
  if (out.size() != count) {
    throw CheckpointError(path_.string() + ": tensor " + tensor.name + ": found room for " +
                          std::to_string(out.size()) + " elements, wanted " +
                          std::to_string(count));
  }
  const std::span<const uint8_t> from = bytes(tensor);
  switch (tensor.dtype) {
    case FileDType::f32:
      if (!from.empty()) std::memcpy(out.data(), from.data(), from.size());
      return;
    case FileDType::f64:
      return convert_all<double>(from, out, [](double v) { return static_cast<float>(v); });
    case FileDType::bf16:
      return convert_all<uint16_t>(from, out, kernels::bf16_to_f32);
    case FileDType::f16:
      return convert_all<uint16_t>(from, out, kernels::f16_to_f32);
    case FileDType::f8_e4m3:
      return convert_all<uint8_t>(from, out, kernels::f8_e4m3_to_f32);
    default:
      throw CheckpointError(path_.string() + ": tensor " + tensor.name + ": found " +
                            std::string(to_string(tensor.dtype)) +
                            ", wanted F32, F64, BF16, F16 or F8_E4M3");
  }
}

}  // namespace troupe::runtime
