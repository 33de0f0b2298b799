// What every data plane promises, over each of them.
#include "runtime/data_plane/data_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

using kernels::DType;

class DataPlaneTest : public WireTest {};

TEST_P(DataPlaneTest, ALetterWithoutTensorsArrives) {
  Pair pair(GetParam());

  pair.a->send(11, {"to b", {}});
  pair.b->send(10, {"", {}});

  EXPECT_TRUE(pair.inbox_b.parcels(1).contains("to b"));
  EXPECT_TRUE(pair.inbox_a.parcels(1).contains(""));
}

TEST_P(DataPlaneTest, TensorsOfEveryTypeAndShapeArriveAsTheyWere) {
  const std::vector<TensorRef> tensors{
      filled(DType::f32, {3, 5}, 1),           filled(DType::bf16, {7}, 2),
      filled(DType::f8_e4m3, {2, 3, 5, 7}, 3), filled(DType::i32, {1}, 4),
      filled(DType::i64, {2, 2, 2}, 5),        filled(DType::f32, {}, 6),
      filled(DType::f32, {0, 7168}, 7),        filled(DType::bf16, {4, 0}, 8),
      filled(DType::f32, {300, 1001}, 9),      filled(DType::i64, {0}, 10)};
  Pair pair(GetParam());

  pair.a->send(11, {"all", tensors});

  auto parcels = pair.inbox_b.parcels(1);
  ASSERT_EQ(parcels["all"].tensors.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_TRUE(is_same(tensors[i], parcels["all"].tensors[i])) << i;
  }
}

TEST_P(DataPlaneTest, EverySizeUpTo64MiBArrives) {
  std::vector<int64_t> sizes;
  for (int64_t n = 1; n <= 64 << 20; n *= 4) {
    for (const int64_t size : {n - 1, n, n + 1}) sizes.push_back(size);
  }
  std::shuffle(sizes.begin(), sizes.end(), std::minstd_rand(5));
  Pair pair(GetParam());

  for (size_t i = 0; i < sizes.size(); ++i) {
    pair.a->send(11, {std::to_string(i), {filled_bytes(sizes[i], static_cast<uint32_t>(i))}});
  }

  auto parcels = pair.inbox_b.parcels(sizes.size());
  ASSERT_EQ(parcels.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto& tensors = parcels[std::to_string(i)].tensors;
    ASSERT_EQ(tensors.size(), 1u);
    EXPECT_TRUE(is_same(filled_bytes(sizes[i], static_cast<uint32_t>(i)), tensors[0])) << sizes[i];
  }
}

TEST_P(DataPlaneTest, BothDirectionsAtOnce) {
  constexpr int n = 2000;
  Pair pair(GetParam());

  for (int i = 0; i < n; ++i) {
    const TensorRef tensor = filled_bytes(i * 37 % 70000, static_cast<uint32_t>(i));
    pair.a->send(11, {std::to_string(i), {tensor}});
    pair.b->send(10, {std::to_string(i), {tensor}});
  }

  for (Inbox* inbox : {&pair.inbox_a, &pair.inbox_b}) {
    auto parcels = inbox->parcels(n);
    ASSERT_EQ(parcels.size(), static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) {
      const auto want = filled_bytes(i * 37 % 70000, static_cast<uint32_t>(i));
      EXPECT_TRUE(is_same(want, parcels[std::to_string(i)].tensors.at(0))) << i;
    }
  }
}

TEST_P(DataPlaneTest, SendingToNobodyIsAnError) {
  Pair pair(GetParam());

  EXPECT_THROW(pair.a->send(12, {"x", {}}), DataPlaneError);
}

TEST_P(DataPlaneTest, AnAddressThatIsNoneIsAnError) {
  Pair pair(GetParam());

  EXPECT_THROW(pair.a->connect(12, "nowhere"), DataPlaneError);
  EXPECT_THROW(pair.a->connect(12, ""), DataPlaneError);
  EXPECT_THROW(pair.a->connect(11, pair.b->address()), DataPlaneError);
}

TEST_P(DataPlaneTest, DisconnectingLosesThePeerOnceAndForAll) {
  Pair pair(GetParam());

  pair.a->disconnect(11);

  const auto losses = pair.inbox_a.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].peer, 11);
  EXPECT_EQ(losses[0].why, "disconnected");
  EXPECT_THROW(pair.a->send(11, {"x", {}}), DataPlaneError);
}

INSTANTIATE_TEST_SUITE_P(AllWires, DataPlaneTest, testing::ValuesIn(wires()), wire_name);

}  // namespace
}  // namespace troupe::tests
