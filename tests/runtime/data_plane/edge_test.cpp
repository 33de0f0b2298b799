#include "runtime/data_plane/edge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

using runtime::apart_bytes;
using runtime::IncomingEdge;
using runtime::OutgoingEdge;
using runtime::pack;
using runtime::PackedParcel;
using runtime::unpack;
using testing::ElementsAre;
using testing::IsEmpty;

PackedParcel parcel(const std::string& letter, int64_t bytes = 0) {
  return pack({letter, {filled_bytes(bytes, 1)}}, 7, false);
}

TEST(OutgoingEdge, NumbersParcelsFromOneAndRemembersTheirLetters) {
  OutgoingEdge edge(10, 1000);
  edge.submit(parcel("a"));
  edge.submit(parcel("b"));

  EXPECT_EQ(edge.next()->header.number, 1u);
  EXPECT_EQ(edge.next()->header.number, 2u);
  EXPECT_FALSE(edge.next());
  EXPECT_TRUE(edge.confirm(1));
  EXPECT_FALSE(edge.confirm(1));
  EXPECT_THAT(edge.take_letters(), ElementsAre("b"));
  EXPECT_THAT(edge.take_letters(), IsEmpty());
}

TEST(OutgoingEdge, ParcelsBeyondTheCreditWaitForAConfirmation) {
  OutgoingEdge edge(1, 1000);

  EXPECT_FALSE(edge.submit(parcel("a")));
  EXPECT_TRUE(edge.next());
  EXPECT_TRUE(edge.submit(parcel("b")));
  EXPECT_FALSE(edge.next());
  edge.confirm(1);
  EXPECT_EQ(edge.next()->header.number, 2u);
}

TEST(OutgoingEdge, BytesBeyondTheCreditWaitUnlessNothingIsUnderWay) {
  OutgoingEdge edge(10, 1000);

  EXPECT_FALSE(edge.submit(parcel("large", 5000)));
  EXPECT_TRUE(edge.next());
  EXPECT_TRUE(edge.submit(parcel("one", 1)));
  EXPECT_FALSE(edge.next());
  edge.confirm(1);
  EXPECT_TRUE(edge.next());
  EXPECT_FALSE(edge.submit(parcel("999", 999)));
  EXPECT_TRUE(edge.next());
  EXPECT_TRUE(edge.submit(parcel("over", 1)));
}

TEST(OutgoingEdge, NothingOvertakesWhatWaits) {
  OutgoingEdge edge(10, 1000);
  edge.submit(parcel("first", 600));
  edge.next();
  edge.submit(parcel("does not fit", 600));

  EXPECT_TRUE(edge.submit(parcel("would fit", 1)));
  EXPECT_FALSE(edge.next());
  EXPECT_THAT(edge.take_letters(), ElementsAre("first", "does not fit", "would fit"));
}

/// A parcel with small and large tensors, and what its parts look like when they arrive.
struct Parts {
  explicit Parts(uint64_t number) {
    original = {"letter",
                {filled_bytes(apart_bytes, 1), filled_bytes(3, 2),
                 filled(kernels::DType::f32, {100, 200}, 3)}};
    packed = pack(original, 7, true);
    set_number(packed, number);
  }
  std::optional<IncomingEdge::Whole> add_packed(IncomingEdge& edge) const {
    return edge.add(packed.header.number,
                    unpack(packed.header, {packed.packed.get(), packed.packed_bytes}));
  }
  std::optional<IncomingEdge::Whole> add_tensor(IncomingEdge& edge, size_t i) const {
    const auto bytes = static_cast<uint64_t>(runtime::bytes_of(packed.apart[i].view));
    return edge.add(packed.header.number, packed.apart_indices[i], packed.apart[i], bytes);
  }
  Parcel original;
  PackedParcel packed;
};

TEST(IncomingEdge, PutsPartsTogetherInAnyOrder) {
  std::vector<int> order{0, 1, 2, 3, 4, 5};
  do {
    const Parts parts[] = {Parts(1), Parts(2)};
    IncomingEdge edge;
    std::map<uint64_t, Parcel> whole;
    for (const int part : order) {
      const Parts& of = parts[part / 3];
      auto done = part % 3 == 0 ? of.add_packed(edge)
                                : of.add_tensor(edge, static_cast<size_t>(part % 3 - 1));
      if (done) whole[done->number] = std::move(done->parcel);
    }
    ASSERT_EQ(whole.size(), 2u);
    for (const auto& [number, parcel] : whole) {
      ASSERT_EQ(parcel.tensors.size(), 3u);
      for (size_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(is_same(parts[0].original.tensors[i], parcel.tensors[i])) << i;
      }
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(IncomingEdge, PartsThatDoNotFitAreErrors) {
  const Parts parts(1);
  IncomingEdge edge;
  parts.add_tensor(edge, 0);

  EXPECT_THROW(parts.add_tensor(edge, 0), DataPlaneError);
  parts.add_packed(edge);
  EXPECT_THROW(parts.add_packed(edge), DataPlaneError);
  EXPECT_THROW(edge.add(1, 1, filled_bytes(3, 2), 3), DataPlaneError);  // was packed

  IncomingEdge other;
  parts.add_packed(other);
  parts.add_tensor(other, 0);
  EXPECT_THROW(other.add(1, 2, parts.packed.apart[1], 79999), DataPlaneError);
}

TEST(IncomingEdge, AFlippedByteOfALargeTensorIsAnError) {
  const Parts parts(1);
  IncomingEdge edge;
  parts.add_packed(edge);
  parts.add_tensor(edge, 0);
  kernels::values<uint8_t>(parts.packed.apart[1].view)[70000] ^= 0x80;

  EXPECT_THROW(parts.add_tensor(edge, 1), DataPlaneError);
}

}  // namespace
}  // namespace troupe::tests
