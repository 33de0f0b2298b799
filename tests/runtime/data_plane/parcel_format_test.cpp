#include "runtime/data_plane/parcel_format.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

using kernels::DType;
using runtime::apart_bytes;
using runtime::pack;
using runtime::PackedParcel;
using runtime::ParcelHeader;
using runtime::unpack;
using runtime::UnpackedParcel;

Parcel mixed() {
  return {"a letter",
          {filled(DType::bf16, {3, 5}, 1), filled(DType::f32, {0, 4}, 2),
           filled_bytes(apart_bytes, 3), filled(DType::i64, {}, 4)}};
}

std::string bytes_of(const PackedParcel& parcel) {
  return {parcel.packed.get(), parcel.packed_bytes};
}

TEST(ParcelFormat, SmallTensorsComeBackAlignedAndLargeOnesStayApart) {
  const Parcel original = mixed();
  PackedParcel packed = pack(original, 9, true);
  set_number(packed, 1);

  const UnpackedParcel back = unpack(packed.header, bytes_of(packed));

  EXPECT_EQ(back.parcel.letter, "a letter");
  ASSERT_EQ(back.parcel.tensors.size(), 4u);
  for (const size_t i : {0u, 1u, 3u}) {
    EXPECT_TRUE(is_same(original.tensors[i], back.parcel.tensors[i])) << i;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(back.parcel.tensors[i].view.data) % 64, 0u) << i;
  }
  EXPECT_EQ(back.parcel.tensors[2].view.data, nullptr);
  EXPECT_EQ(packed.apart_indices, std::vector<uint32_t>{2});
  EXPECT_EQ(packed.tensor_bytes, 30 + apart_bytes + 8);
}

TEST(ParcelFormat, TensorsOfADeviceAreNeverTouched) {
  TensorRef tensor = filled_bytes(8, 1);
  tensor.view.device = kernels::Device::cuda;

  EXPECT_EQ(pack({"", {tensor}}, 1, false).apart.size(), 1u);
  EXPECT_THROW(pack({"", {tensor}}, 1, true), DataPlaneError);
}

TEST(ParcelFormat, TensorsThatCannotBeSentAreErrors) {
  const TensorRef wide = filled(DType::f32, {4, 8}, 1);
  TensorRef none = filled_bytes(8, 1);
  none.view.data = nullptr;

  EXPECT_THROW(pack({"", {{kernels::columns(wide.view, 0, 3), wide.owner}}}, 1, false),
               DataPlaneError);
  EXPECT_THROW(pack({"", {none}}, 1, false), DataPlaneError);
}

TEST(ParcelFormat, TheChecksumVouchesForBytesAndNumber) {
  PackedParcel packed = pack(mixed(), 9, true);
  set_number(packed, 5);
  const std::string bytes = bytes_of(packed);
  EXPECT_NO_THROW(unpack(packed.header, bytes));

  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_THROW(unpack(packed.header, damaged), DataPlaneError) << i;
  }
  ParcelHeader other = packed.header;
  other.number = 6;
  EXPECT_THROW(unpack(other, bytes), DataPlaneError);
}

// Without checksums damage may go unnoticed; it must not read or write where it should not.
TEST(ParcelFormat, DamagedBytesAreErrorsOrParcels) {
  const PackedParcel packed = pack(mixed(), 9, false);
  std::minstd_rand random(3);
  int errors = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = bytes_of(packed);
    ParcelHeader header = packed.header;
    if (round % 4 == 0) bytes.resize(random() % (bytes.size() + 1));
    if (round % 4 == 1) header.letter_bytes = random();
    if (round % 4 == 2) header.n_tensors = static_cast<uint32_t>(random());
    if (!bytes.empty())
      bytes[random() % std::min<size_t>(bytes.size(), 200)] = static_cast<char>(random());
    try {
      unpack(header, bytes);
    } catch (const DataPlaneError&) {
      ++errors;
    }
  }

  EXPECT_GT(errors, 15000);
}

}  // namespace
}  // namespace troupe::tests
