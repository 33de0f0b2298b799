#include "runtime/data_plane/parcel_format.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace troupe::runtime {
namespace {

using kernels::Device;
using kernels::DType;

constexpr size_t alignment = 64;

size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

/// Where the first tensor stands.
size_t tensors_begin(size_t n_tensors, size_t letter_bytes) {
  return aligned(n_tensors * sizeof(ParcelEntry) + letter_bytes);
}

bool is_apart(const kernels::Tensor& tensor) {
  const int64_t bytes = bytes_of(tensor);
  return bytes > 0 && (bytes >= apart_bytes || tensor.device != Device::cpu);
}

uint64_t checksum_of(const kernels::Tensor& tensor) {
  return XXH3_64bits(tensor.data, static_cast<size_t>(bytes_of(tensor)));
}

ParcelEntry entry_of(const kernels::Tensor& tensor) {
  ParcelEntry entry{};
  entry.dtype = static_cast<uint8_t>(tensor.dtype);
  entry.device = static_cast<uint8_t>(tensor.device);
  entry.rank = static_cast<uint8_t>(tensor.rank);
  entry.is_apart = is_apart(tensor);
  for (size_t i = 0; i < static_cast<size_t>(tensor.rank); ++i) entry.shape[i] = tensor.shape[i];
  return entry;
}

void check_sendable(const kernels::Tensor& tensor, bool has_checksums) {
  if (!tensor.is_contiguous()) {
    throw DataPlaneError(describe(tensor) + " has rows " + std::to_string(tensor.row_stride) +
                         " elements apart, wanted contiguous ones");
  }
  if (tensor.data == nullptr && tensor.count() > 0) {
    throw DataPlaneError(describe(tensor) + " has no memory");
  }
  if (has_checksums && tensor.device != Device::cpu) {
    throw DataPlaneError(describe(tensor) +
                         " is in a device's memory, wanted host memory: " + "checksums are on");
  }
}

std::string of_parcel(uint64_t number) { return "parcel " + std::to_string(number) + ": "; }

/// The tensor that an entry describes, without memory.
kernels::Tensor view_of(const ParcelEntry& entry, uint64_t number) {
  if (entry.dtype > static_cast<uint8_t>(DType::i64) ||
      entry.device > static_cast<uint8_t>(Device::cuda) || entry.rank > 4) {
    throw DataPlaneError(of_parcel(number) + "found dtype " + std::to_string(entry.dtype) +
                         ", device " + std::to_string(entry.device) + ", rank " +
                         std::to_string(entry.rank) + ", wanted those of a tensor");
  }
  kernels::Tensor view;
  view.dtype = static_cast<DType>(entry.dtype);
  view.device = static_cast<Device>(entry.device);
  view.rank = entry.rank;
  int64_t total = size_of(view.dtype);
  for (size_t i = 0; i < entry.rank; ++i) {
    const int64_t n = entry.shape[i];
    if (n < 0 || __builtin_mul_overflow(total, n, &total) || total > int64_t{1} << 48) {
      throw DataPlaneError(of_parcel(number) + "found a dimension of " + std::to_string(n) +
                           ", wanted a tensor of 2^48 bytes at most");
    }
    view.shape[i] = n;
  }
  view.row_stride = view.cols();
  return view;
}

}  // namespace

int64_t bytes_of(const kernels::Tensor& tensor) {
  return tensor.count() * kernels::size_of(tensor.dtype);
}

uint64_t PackedParcel::wire_bytes() const {
  uint64_t bytes = sizeof(ParcelHeader) + packed_bytes;
  for (const TensorRef& tensor : apart) {
    bytes += sizeof(TensorHeader) + static_cast<uint64_t>(bytes_of(tensor.view));
  }
  return bytes;
}

bool has_gpu_memory(const PackedParcel& parcel) {
  return std::any_of(parcel.apart.begin(), parcel.apart.end(), [](const TensorRef& tensor) {
    return tensor.view.device == Device::cuda;
  });
}

PackedParcel pack(Parcel parcel, uint64_t plane, bool has_checksums) {
  PackedParcel out;
  const size_t n = parcel.tensors.size();
  std::vector<ParcelEntry> table;
  size_t end = tensors_begin(n, parcel.letter.size());
  for (const TensorRef& tensor : parcel.tensors) {
    check_sendable(tensor.view, has_checksums);
    ParcelEntry& entry = table.emplace_back(entry_of(tensor.view));
    const int64_t bytes = bytes_of(tensor.view);
    out.tensor_bytes += bytes;
    if (!entry.is_apart) end += aligned(static_cast<size_t>(bytes));
    if (entry.is_apart && has_checksums) entry.checksum = checksum_of(tensor.view);
  }

  out.packed_bytes = end;
  out.packed = std::make_unique<char[]>(end);
  if (n > 0) std::memcpy(out.packed.get(), table.data(), n * sizeof(ParcelEntry));
  std::memcpy(out.packed.get() + n * sizeof(ParcelEntry), parcel.letter.data(),
              parcel.letter.size());
  char* to = out.packed.get() + tensors_begin(n, parcel.letter.size());
  for (size_t i = 0; i < n; ++i) {
    TensorRef& tensor = parcel.tensors[i];
    if (table[i].is_apart) {
      out.apart.push_back(std::move(tensor));
      out.apart_indices.push_back(static_cast<uint32_t>(i));
      continue;
    }
    const auto bytes = static_cast<size_t>(bytes_of(tensor.view));
    if (bytes > 0) std::memcpy(to, tensor.view.data, bytes);
    to += aligned(bytes);
    out.copied_bytes += static_cast<int64_t>(bytes);
  }
  out.header = {.plane = plane,
                .number = 0,
                .letter_bytes = parcel.letter.size(),
                .n_tensors = static_cast<uint32_t>(n),
                .has_checksums = has_checksums,
                .checksum = 0};
  out.letter = std::move(parcel.letter);
  return out;
}

void set_number(PackedParcel& parcel, uint64_t number) {
  parcel.header.number = number;
  if (parcel.header.has_checksums) {
    parcel.header.checksum = XXH3_64bits_withSeed(parcel.packed.get(), parcel.packed_bytes, number);
  }
}

UnpackedParcel unpack(const ParcelHeader& header, std::string_view packed) {
  if (header.has_checksums &&
      XXH3_64bits_withSeed(packed.data(), packed.size(), header.number) != header.checksum) {
    throw DataPlaneError(of_parcel(header.number) + "its checksum does not hold");
  }
  const size_t n = header.n_tensors;
  if (header.letter_bytes > packed.size() || n > packed.size() / sizeof(ParcelEntry) ||
      tensors_begin(n, header.letter_bytes) > packed.size()) {
    throw DataPlaneError(of_parcel(header.number) + "found " + std::to_string(packed.size()) +
                         " bytes, wanted " + std::to_string(n) + " tensors and a letter of " +
                         std::to_string(header.letter_bytes) + " bytes");
  }
  UnpackedParcel out;
  out.has_checksums = header.has_checksums != 0;
  out.table.resize(n);
  if (n > 0) std::memcpy(out.table.data(), packed.data(), n * sizeof(ParcelEntry));
  out.parcel.letter = packed.substr(n * sizeof(ParcelEntry), header.letter_bytes);

  const size_t begin = tensors_begin(n, header.letter_bytes);
  const auto memory =
      kernels::allocate(DType::f8_e4m3, {static_cast<int64_t>(packed.size() - begin)});
  if (packed.size() > begin) {
    std::memcpy(memory.view.data, packed.data() + begin, packed.size() - begin);
  }
  size_t at = begin;
  for (const ParcelEntry& entry : out.table) {
    TensorRef& tensor = out.parcel.tensors.emplace_back();
    tensor.view = view_of(entry, header.number);
    if (entry.is_apart) continue;
    const auto bytes = aligned(static_cast<size_t>(bytes_of(tensor.view)));
    if (tensor.view.device != Device::cpu && bytes > 0) {
      throw DataPlaneError(of_parcel(header.number) + "found a packed tensor of a device");
    }
    if (bytes > packed.size() - at) {
      throw DataPlaneError(of_parcel(header.number) + "it ends inside of a tensor");
    }
    tensor.view.data = static_cast<char*>(memory.view.data) + (at - begin);
    tensor.owner = memory.memory;
    at += bytes;
  }
  if (at != packed.size()) {
    throw DataPlaneError(of_parcel(header.number) + "found " + std::to_string(packed.size() - at) +
                         " bytes behind its last tensor");
  }
  return out;
}

void check_tensor(const UnpackedParcel& parcel, size_t index) {
  if (!parcel.has_checksums) return;
  const uint64_t found = checksum_of(parcel.parcel.tensors[index].view);
  if (found != parcel.table[index].checksum) {
    throw DataPlaneError("tensor " + std::to_string(index) + ", " +
                         describe(parcel.parcel.tensors[index].view) +
                         ": its checksum does not hold");
  }
}

}  // namespace troupe::runtime
