// A parcel as a data plane's peer sends it: a header that fits the bytes more often than chance would
// have it, and what is packed behind it. Checksums are off, or right: none would hold by chance.
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "runtime/data_plane/parcel_format.h"

using namespace troupe;
using namespace troupe::runtime;

/// Every tensor that is there can be read from its first byte to its last.
static uint64_t sum_of(const UnpackedParcel& unpacked) {
  if (unpacked.parcel.tensors.size() != unpacked.table.size()) std::abort();
  uint64_t sum = 0;
  for (size_t i = 0; i < unpacked.table.size(); ++i) {
    const kernels::Tensor& view = unpacked.parcel.tensors[i].view;
    if (unpacked.table[i].is_apart) continue;
    const auto* bytes = static_cast<const uint8_t*>(view.data);
    for (int64_t at = 0; at < bytes_of(view); ++at) sum += bytes[at];
  }
  return sum;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const std::string_view packed(reinterpret_cast<const char*>(data) + 4, size - 4);
  ParcelHeader header{};
  header.plane = 1;
  header.number = data[3];
  header.n_tensors = data[0] % 16;
  header.letter_bytes = data[1] | (data[2] & 0x7f) << 8;
  header.has_checksums = data[2] >> 7;
  header.checksum = XXH3_64bits_withSeed(packed.data(), packed.size(), header.number);
  try {
    UnpackedParcel unpacked = unpack(header, packed);
    const uint64_t sum = sum_of(unpacked);
    // What was read can be sent again, if all of it came, and says the same.
    for (const ParcelEntry& entry : unpacked.table) {
      if (entry.is_apart || entry.device != 0) return 0;
    }
    const bool are_small = std::ranges::all_of(unpacked.parcel.tensors, [](const TensorRef& tensor) {
      return bytes_of(tensor.view) < apart_bytes;
    });
    if (!are_small) return 0;
    PackedParcel again = pack(unpacked.parcel, header.plane, header.has_checksums != 0);
    set_number(again, header.number);
    const UnpackedParcel same = unpack(again.header, {again.packed.get(), again.packed_bytes});
    if (same.parcel.letter != unpacked.parcel.letter || sum_of(same) != sum) std::abort();
  } catch (const DataPlaneError&) {
  }
  return 0;
}
