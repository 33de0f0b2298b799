#include "kernels/ops/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "kernels/ops/rounding.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

namespace {

#define TROUPE_SCALAR inline
#include "kernels/math/small_formats.inl"
#undef TROUPE_SCALAR

/// A number of a sign, 5 bits of exponent with bias 15, and f fraction bits, its infinities and NaN
/// as IEEE's half has them.
float half_like_to_f32(uint32_t bits, int f) {
  const bool negative = (bits >> (f + 5) & 1u) != 0;
  const uint32_t exponent = (bits >> f) & 0x1fu;
  const uint32_t fraction = bits & ((1u << f) - 1u);
  if (exponent == 0x1f) {
    const uint32_t sign = negative ? 0x80000000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | (fraction << (23 - f)));
  }
  if (exponent == 0) return scaled(negative, fraction, -14 - f);
  return scaled(negative, fraction | (1u << f), static_cast<int>(exponent) - 15 - f);
}

void expect_length(const char* what, size_t found, int64_t wanted) {
  if (wanted >= 0 && found == static_cast<size_t>(wanted)) return;
  throw KernelError(std::string(what) + " has " + std::to_string(found) + " elements, wanted " +
                    std::to_string(wanted));
}

}  // namespace

float bf16_to_f32(uint16_t bits) { return of_bf16(bits); }

uint16_t f32_to_bf16(float value) { return to_bf16(value); }

float f16_to_f32(uint16_t bits) { return half_like_to_f32(bits, 10); }

float f8_e4m3_to_f32(uint8_t bits) { return of_e4m3(bits); }

uint8_t f32_to_f8_e4m3(float value) { return to_e4m3(value); }

float e5m6_to_f32(uint16_t bits) { return half_like_to_f32(bits, 6); }

uint16_t f32_to_e5m6(float value) {
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 31 << 11;
  if (value != value) return static_cast<uint16_t>(sign | 0x7e0u);
  return static_cast<uint16_t>(sign | nearest_code(std::fabs(value), 6, 15, 0x7bfu));
}

void dequantize_blocks(const DequantizeBlocksArgs& args) {
  if (args.block_rows < 1 || args.block_cols < 1) {
    throw KernelError("block of " + std::to_string(args.block_rows) + " x " +
                      std::to_string(args.block_cols) + ", wanted at least 1 x 1");
  }
  const int64_t across = tiles_over(args.cols, args.block_cols);
  expect_length("codes", args.codes.size(), args.rows * args.cols);
  expect_length("out", args.out.size(), args.rows * args.cols);
  expect_length("scales", args.scales.size(), tiles_over(args.rows, args.block_rows) * across);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* scales = args.scales.data() + row / args.block_rows * across;
    for (int64_t col = 0; col < args.cols; ++col) {
      const int64_t at = row * args.cols + col;
      args.out[static_cast<size_t>(at)] =
          f8_e4m3_to_f32(args.codes[static_cast<size_t>(at)]) * scales[col / args.block_cols];
    }
  }
}

}  // namespace troupe::kernels
