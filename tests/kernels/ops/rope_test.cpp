#include "kernels/ops/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/rope.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

/// As released: 40 times 4,096 positions.
constexpr Yarn released{.factor = 40,
                        .original_positions = 4096,
                        .beta_fast = 32,
                        .beta_slow = 1,
                        .mscale = 1,
                        .mscale_all_dim = 1};

/// Rotates all heads of the tokens at `positions`.
Buffer rotated(Queue& queue, const ConstTensor& x, int64_t heads, const Buffer& positions,
               const RopeTable& table, bool inverse = false) {
  const Buffer y = allocate_f32({x.rows(), x.cols()});
  rope(queue, {.x = x,
               .heads = heads,
               .positions = positions,
               .cosines = table.cosines,
               .sines = table.sines,
               .inverse = inverse,
               .y = y});
  queue.wait();
  return y;
}

TEST(Rope, TableHoldsTheCosinesAndSinesOfTheReference) {
  for (const std::optional<reference::Yarn>& yarn : {std::optional<reference::Yarn>{},
                                                     {{40, 4096, 32, 1}},
                                                     {{4, 16, 32, 1}},
                                                     {{2, 1e9, 32, 1}}}) {
    for (const size_t R : {2, 16, 64}) {
      std::optional<Yarn> own;
      if (yarn) {
        own = Yarn{.factor = yarn->factor,
                   .original_positions = yarn->original_positions,
                   .beta_fast = 32,
                   .beta_slow = 1,
                   .mscale = 1,
                   .mscale_all_dim = 1};
      }
      const int64_t P = 2000;

      const RopeTable table = rope_table(P, static_cast<int64_t>(R), 10000.0, own);

      for (int64_t p = 0; p < P; p += p < 10 ? 1 : 199) {
        for (size_t i = 0; i < R / 2; ++i) {
          const long double angle =
              static_cast<long double>(p) * reference::rope_frequency(i, R, 10000.0, yarn);
          const size_t at = static_cast<size_t>(p) * R / 2 + i;
          ASSERT_NEAR(values<float>(table.cosines.view)[at], std::cos(angle), 6e-8);
          ASSERT_NEAR(values<float>(table.sines.view)[at], std::sin(angle), 6e-8);
        }
      }
    }
  }
}

// Known values of the released model: the ramp of YaRN runs from pair 10 to pair 23.
TEST(Rope, YarnStretchesSlowPairsAndLeavesFastOnes) {
  const RopeTable plain = rope_table(2, 64, 10000.0, std::nullopt);
  const RopeTable yarn = rope_table(2, 64, 10000.0, released);
  const auto angles = [](const RopeTable& t, int64_t i) {
    return std::asin(static_cast<double>(values<float>(t.sines.view)[32 + i]));
  };
  for (int64_t i = 1; i < 32; ++i) {
    const double ratio = angles(plain, i) / angles(yarn, i);
    EXPECT_GT(ratio, i > 10 ? 1.01 : 0.99999);
    EXPECT_LT(ratio, i > 10 ? 40.001 : 1.00001);
    EXPECT_EQ(ratio > 39.999, i >= 23);
  }
}

TEST(Rope, TheTableIsScaledByTheRatioOfTheTwoScales) {
  Yarn yarn = released;
  yarn.mscale = 2;
  const double m1 = 0.1 * std::log(40.0) + 1, m2 = 0.2 * std::log(40.0) + 1;

  EXPECT_EQ(values<float>(rope_table(1, 2, 10000.0, yarn).cosines.view)[0],
            static_cast<float>(m2 / m1));
  yarn.mscale_all_dim = 0;
  EXPECT_EQ(values<float>(rope_table(1, 2, 10000.0, yarn).cosines.view)[0], static_cast<float>(m2));
  EXPECT_EQ(values<float>(rope_table(1, 2, 10000.0, released).cosines.view)[0], 1.0f);
}

TEST(Rope, SoftmaxScaleIsTheReleasedModels) {
  EXPECT_FLOAT_EQ(softmax_scale(192, std::nullopt), 0.0721687836f);
  EXPECT_FLOAT_EQ(softmax_scale(192, released), 0.1352337789f);
  Yarn without = released;
  without.mscale_all_dim = 0;
  EXPECT_FLOAT_EQ(softmax_scale(192, without), 0.0721687836f);
  without = released;
  without.factor = 1;
  EXPECT_FLOAT_EQ(softmax_scale(192, without), 0.0721687836f);
}

TEST(Rope, RotatesEachHeadByItsTokensPosition) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t R : {2, 6, 32, 64, 70}) {
    const int64_t T = 5, H = 3;
    const RopeTable table = rope_table(400, R, 10000.0, std::nullopt);
    const std::vector<int32_t> at{0, 7, 399, 7, 100};
    const Buffer positions = integers(at, {T});
    const Buffer wide = normal({T * H, R + 11}, 1);
    const ConstTensor x = columns(ConstTensor(wide), 7, R);

    const Buffer y = rotated(queue, x, H, positions, table);

    for (int64_t row = 0; row < T * H; ++row) {
      Doubles angles;
      for (int64_t i = 0; i < R / 2; ++i) {
        angles.push_back(
            static_cast<double>(at[static_cast<size_t>(row / H)] *
                                reference::rope_frequency(static_cast<size_t>(i),
                                                          static_cast<size_t>(R), 10000.0, {})));
      }
      EXPECT_LT(relative_difference(to_doubles(row_range(ConstTensor(y), row, 1)),
                                    reference::rotate(to_doubles(row_range(x, row, 1)), angles)),
                3e-7);
    }
  }
}

TEST(Rope, BackwardIsTheInverseAndAgreesWithFiniteDifferences) {
  ThreadPool pool(1);
  Queue queue(pool);
  const int64_t R = 34;
  const RopeTable table = rope_table(9, R, 100.0, std::nullopt);
  const Buffer position = integers({8}, {1}), x = normal({1, R}, 1), dy = normal({1, R}, 2);
  Doubles angles;
  for (size_t i = 0; i < R / 2; ++i) {
    angles.push_back(static_cast<double>(8 * reference::rope_frequency(i, R, 100.0, {})));
  }

  const Buffer dx = rotated(queue, dy, 1, position, table, true);
  const Buffer back =
      rotated(queue, rotated(queue, x, 1, position, table), 1, position, table, true);

  const Doubles numeric = finite_differences(
      [&](const Doubles& v) { return inner_product(reference::rotate(v, angles), to_doubles(dy)); },
      to_doubles(x));
  EXPECT_LT(relative_difference(to_doubles(dx), numeric), 1e-6);
  EXPECT_LT(relative_difference(to_doubles(back), to_doubles(x)), 3e-7);
}

// Law 1, and in place.
TEST(Rope, GivesTheSameBitsInAnyArrangement) {
  const int64_t T = 300, H = 8, R = 70;
  const RopeTable table = rope_table(500, R, 10000.0, released);
  const Buffer x = normal({T * H, R}, 1), positions = integers(random_integers(T, 500, 2), {T});

  const auto all = expect_same_bits_everywhere(
      [&](Queue& queue) { return to_vector(rotated(queue, x, H, positions, table)); });

  ThreadPool pool(1);
  Queue queue(pool);
  for (const int64_t t : {int64_t{0}, int64_t{123}, T - 1}) {
    const Buffer position = integers({values<int32_t>(positions.view)[t]}, {1});
    const auto alone =
        to_vector(rotated(queue, row_range(ConstTensor(x), t * H, H), H, position, table));
    EXPECT_TRUE(same_bits(alone, {all.begin() + t * H * R, all.begin() + (t + 1) * H * R}));
  }
  rope(queue, {.x = x,
               .heads = H,
               .positions = positions,
               .cosines = table.cosines,
               .sines = table.sines,
               .inverse = false,
               .y = x});
  queue.wait();
  EXPECT_TRUE(same_bits(to_vector(x), all));
}

TEST(Rope, APositionOutsideTheTableIsAnErrorFromTheQueue) {
  ThreadPool pool(1);
  Queue queue(pool);
  const RopeTable table = rope_table(4, 8, 10000.0, std::nullopt);
  const Buffer x = normal({2, 8}, 1);
  for (const int32_t bad : {4, -1}) {
    const Buffer positions = integers({3, bad}, {2});
    EXPECT_THAT(kernel_error([&] { rotated(queue, x, 1, positions, table); }),
                HasSubstr("position " + std::to_string(bad) + " at token 1, wanted 0 to 3"));
  }
}

TEST(Rope, RefusesWhatHasNoRotation) {
  ThreadPool pool(1);
  Queue queue(pool);
  const RopeTable table = rope_table(4, 8, 10000.0, std::nullopt);
  const Buffer odd = normal({2, 7}, 1), narrow = normal({2, 6}, 2),
               positions = integers({0, 1}, {2});

  EXPECT_THAT(kernel_error([&] { rotated(queue, odd, 1, positions, table); }),
              HasSubstr("width 7, wanted"));
  EXPECT_THAT(kernel_error([&] { rotated(queue, narrow, 1, positions, table); }),
              HasSubstr("rope cosines is [4, 4] f32, wanted [4, 3] f32"));
  EXPECT_THAT(kernel_error([&] { rotated(queue, narrow, 2, positions, table); }),
              HasSubstr("rope x is [2, 6] f32, wanted [4, 6] f32"));
  EXPECT_THAT(kernel_error([&] { rope_table(4, 7, 10000.0, std::nullopt); }), HasSubstr("width 7"));
  EXPECT_THAT(kernel_error([&] { rope_table(4, 8, 1.0, std::nullopt); }), HasSubstr("theta 1.0"));
  EXPECT_THAT(kernel_error([&] {
                Yarn yarn = released;
                yarn.factor = 0;
                rope_table(4, 8, 10000.0, yarn);
              }),
              HasSubstr("YaRN factor 0"));
  EXPECT_THAT(kernel_error([&] { softmax_scale(0, std::nullopt); }), HasSubstr("query width 0"));
}

}  // namespace
}  // namespace troupe::tests
