#include "kernels/quantize.h"

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
