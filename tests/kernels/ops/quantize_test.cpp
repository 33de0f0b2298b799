#include "kernels/ops/quantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/tensor.h"

namespace troupe::kernels {
namespace {

TEST(Bf16, HasTheUpperBitsOfF32) {
  EXPECT_EQ(bf16_to_f32(0x3f80), 1.0f);
  EXPECT_EQ(bf16_to_f32(0xc040), -3.0f);
  EXPECT_EQ(bf16_to_f32(0x0001), std::ldexp(1.0f, -133));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_f32(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) {
      ASSERT_EQ(f32_to_bf16(value), bits);
    }
  }
}

TEST(Bf16, IsRoundedToNearestEven) {
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // a tie goes to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f807fffu)), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);  // infinity
  EXPECT_EQ(f32_to_bf16(-std::numeric_limits<float>::infinity()), 0xff80);
}

TEST(Bf16, NanStaysNan) {
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0xffffffffu)))));
}

TEST(F16, IsExact) {
  EXPECT_EQ(f16_to_f32(0x3c00), 1.0f);
  EXPECT_EQ(f16_to_f32(0xc248), -3.140625f);
  EXPECT_EQ(f16_to_f32(0x7bff), 65504.0f);
  EXPECT_EQ(f16_to_f32(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(f16_to_f32(0xfc00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(f16_to_f32(0x7e00)));
}

TEST(F8E4m3, FollowsItsFormula) {
  EXPECT_EQ(f8_e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x01), std::ldexp(1.0f, -9));
  EXPECT_EQ(f8_e4m3_to_f32(0x08), std::ldexp(1.0f, -6));
  EXPECT_TRUE(std::signbit(f8_e4m3_to_f32(0x80)));
  for (int bits = 0; bits < 256; ++bits) {
    const float value = f8_e4m3_to_f32(static_cast<uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    const int exponent = (bits >> 3) & 15;
    const double fraction = (bits & 7) / 8.0;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
    EXPECT_EQ(value, (bits & 0x80) != 0 ? -magnitude : magnitude) << bits;
  }
}

/// The nearest of a format's finite numbers, which ascend with their codes; a tie goes to the even
/// code.
int nearest_of(const std::vector<double>& numbers, double magnitude) {
  const int last = static_cast<int>(numbers.size()) - 1;
  if (magnitude > numbers.back()) return last;  // where f64 no longer tells distances apart
  int best = 0;
  for (int code = 1; code <= last; ++code) {
    const double now = std::abs(numbers[static_cast<size_t>(code)] - magnitude);
    const double before = std::abs(numbers[static_cast<size_t>(best)] - magnitude);
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return best;
}

TEST(F8E4m3, IsRoundedToTheNearestOfItsNumbersFromEveryBf16) {
  std::vector<double> numbers;
  for (int code = 0; code < 0x7f; ++code) {
    numbers.push_back(f8_e4m3_to_f32(static_cast<uint8_t>(code)));
  }
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_f32(static_cast<uint16_t>(bits));
    const int sign = bits >= 0x8000 ? 0x80 : 0;
    const int wanted = std::isnan(value)   ? 0x7f
                       : std::isinf(value) ? 0x7e
                                           : nearest_of(numbers, std::abs(value));
    ASSERT_EQ(f32_to_f8_e4m3(value), sign | wanted) << value;
  }
}

TEST(F8E4m3, EveryCodeIsItsOwnNearest) {
  for (int code = 0; code < 256; ++code) {
    EXPECT_EQ(f32_to_f8_e4m3(f8_e4m3_to_f32(static_cast<uint8_t>(code))), code);
  }
}

TEST(F8E4m3, SeesEveryBitOfF32) {
  const float half_way = 1.0625f;  // between 1 (even) and 1.125
  EXPECT_EQ(f32_to_f8_e4m3(half_way), 0x38);
  EXPECT_EQ(f32_to_f8_e4m3(std::nextafter(half_way, 2.0f)), 0x39);
  EXPECT_EQ(f32_to_f8_e4m3(std::ldexp(1.0f, -10)), 0);  // half the least number: to even
  EXPECT_EQ(f32_to_f8_e4m3(std::nextafter(std::ldexp(1.0f, -10), 1.0f)), 1);
  EXPECT_EQ(f32_to_f8_e4m3(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(E5m6, FollowsItsFormula) {
  EXPECT_EQ(e5m6_to_f32(0x7bf), 65024.0f);
  EXPECT_EQ(e5m6_to_f32(0x3c0), 1.0f);
  EXPECT_EQ(e5m6_to_f32(0x001), std::ldexp(1.0f, -20));
  EXPECT_EQ(e5m6_to_f32(0x7c0), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(e5m6_to_f32(0x7e0)));
  for (int bits = 0; bits < 0x7c0; ++bits) {
    const int exponent = bits >> 6;
    const double fraction = (bits & 63) / 64.0;
    const double wanted =
        exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    ASSERT_EQ(e5m6_to_f32(static_cast<uint16_t>(bits)), wanted) << bits;
    ASSERT_EQ(e5m6_to_f32(static_cast<uint16_t>(bits | 0x800)), -wanted) << bits;
  }
}

TEST(E5m6, IsRoundedToTheNearestOfItsNumbersFromEveryBf16) {
  std::vector<double> numbers;
  for (int code = 0; code < 0x7c0; ++code) {
    numbers.push_back(e5m6_to_f32(static_cast<uint16_t>(code)));
  }
  for (uint32_t bits = 0; bits < 0x8000; ++bits) {  // the sign is looked at once each
    const float value = bf16_to_f32(static_cast<uint16_t>(bits));
    const int wanted = std::isnan(value)   ? 0x7e0
                       : std::isinf(value) ? 0x7bf
                                           : nearest_of(numbers, value);
    ASSERT_EQ(f32_to_e5m6(value), wanted) << value;
    ASSERT_EQ(f32_to_e5m6(-value), 0x800 | wanted) << value;
  }
}

TEST(E5m6, EveryFiniteCodeIsItsOwnNearest) {
  for (int code = 0; code < 0x1000; ++code) {
    if ((code & 0x7c0) == 0x7c0) continue;
    EXPECT_EQ(f32_to_e5m6(e5m6_to_f32(static_cast<uint16_t>(code))), code);
  }
}

TEST(DequantizeBlocks, MultipliesEachRaggedBlockWithItsScale) {
  const std::vector<uint8_t> codes(15, 0x38);         // 1 everywhere, 3 x 5
  const std::vector<float> scales{1, 2, 3, 4, 5, 6};  // blocks of 2 x 2: 2 x 3 of them
  std::vector<float> out(15);

  dequantize_blocks({.codes = codes,
                     .rows = 3,
                     .cols = 5,
                     .scales = scales,
                     .block_rows = 2,
                     .block_cols = 2,
                     .out = out});

  EXPECT_EQ(out, (std::vector<float>{1, 1, 2, 2, 3, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6}));
}

TEST(DequantizeBlocks, AnEmptyMatrixNeedsNoScale) {
  EXPECT_NO_THROW(dequantize_blocks({.codes = {},
                                     .rows = 0,
                                     .cols = 5,
                                     .scales = {},
                                     .block_rows = 2,
                                     .block_cols = 2,
                                     .out = {}}));
}

TEST(DequantizeBlocks, RefusesWrongLengths) {
  const std::vector<uint8_t> codes(15);
  const std::vector<float> scales(6);
  std::vector<float> out(15);
  DequantizeBlocksArgs args{.codes = codes,
                            .rows = 3,
                            .cols = 5,
                            .scales = scales,
                            .block_rows = 2,
                            .block_cols = 2,
                            .out = out};

  args.block_rows = 3;
  EXPECT_THROW(dequantize_blocks(args), KernelError);
  args.block_rows = 0;
  EXPECT_THROW(dequantize_blocks(args), KernelError);
  args.block_rows = 2;
  args.rows = 4;
  EXPECT_THROW(dequantize_blocks(args), KernelError);
}

}  // namespace
}  // namespace troupe::kernels
