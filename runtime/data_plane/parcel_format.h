// A parcel as it goes over UCX. Knows no UCX: bytes in, bytes out.
//
// What is small travels packed in one message: a table of all tensors, the letter, and the tensors
// themselves, each from a multiple of 64 bytes on. A tensor that is large or not in host memory is
// left out of it and goes as a message of its own, from where it lies. Little-endian, as the CPUs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data_plane/data_plane.h"

namespace troupe::runtime {

/// Tensors of as many bytes or more travel by themselves.
inline constexpr int64_t apart_bytes = 32 << 10;

/// Before a packed parcel.
struct ParcelHeader {
  uint64_t plane;   ///< who sends
  uint64_t number;  ///< of the parcel among those of its edge, from 1
  uint64_t letter_bytes;
  uint32_t n_tensors;
  uint32_t has_checksums;
  uint64_t checksum;  ///< xxh3 of the packed bytes, seeded with the number
};

/// Before a tensor that travels by itself.
struct TensorHeader {
  uint64_t plane;
  uint64_t number;  ///< of its parcel
  uint64_t bytes;
  uint32_t index;  ///< among the parcel's tensors
  uint32_t device;
};

/// One tensor in the table.
struct ParcelEntry {
  uint8_t dtype;
  uint8_t device;
  uint8_t rank;
  uint8_t is_apart;
  uint32_t reserved;
  int64_t shape[4];
  uint64_t checksum;  ///< of a tensor that is apart
};

/// Bytes of its elements.
int64_t bytes_of(const kernels::Tensor& tensor);

/// A parcel on its way out: ready to be sent, but for its number.
struct PackedParcel {
  ParcelHeader header{};
  std::string letter;
  std::unique_ptr<char[]> packed;
  size_t packed_bytes = 0;
  std::vector<TensorRef> apart;
  std::vector<uint32_t> apart_indices;
  int64_t tensor_bytes = 0;
  int64_t copied_bytes = 0;

  uint64_t wire_bytes() const;
};
/// Whether a tensor of it is in a GPU's memory.
bool has_gpu_memory(const PackedParcel& parcel);

/// Throws DataPlaneError if a tensor is not contiguous, has no memory, or should have a checksum
/// and does not lie in the host's memory.
PackedParcel pack(Parcel parcel, uint64_t plane, bool has_checksums);

/// Gives the parcel its place on an edge; the checksum vouches for it too.
void set_number(PackedParcel& parcel, uint64_t number);

/// A parcel on its way in. Tensors that travel by themselves have no memory yet.
struct UnpackedParcel {
  Parcel parcel;
  std::vector<ParcelEntry> table;
  bool has_checksums = false;
};

/// Throws DataPlaneError if the bytes are no parcel's.
UnpackedParcel unpack(const ParcelHeader& header, std::string_view packed);

/// Throws DataPlaneError if a tensor that came by itself is not the one that was sent.
void check_tensor(const UnpackedParcel& parcel, size_t index);

}  // namespace troupe::runtime
