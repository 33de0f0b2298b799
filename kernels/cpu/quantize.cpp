#include "kernels/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "kernels/rounding.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

namespace {

/// A finite number sign * mantissa * 2^exponent of few bits, as f32: exact.
float scaled(bool negative, uint32_t mantissa, int exponent) {
  const float power = std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
  const float magnitude = static_cast<float>(mantissa) * power;
  return negative ? -magnitude : magnitude;
}

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

/// Exponent and fraction of a format with f fraction bits and the exponent's `bias` to the nearest
/// even, as an integer whose lower f bits are the fraction; at most `largest`.
uint32_t nearest_code(float magnitude, int f, int bias, uint32_t largest) {
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const int exponent = std::max(static_cast<int>(bits >> 23) - 127, 1 - bias);
  // Bits of f32's fraction that fall away; below the least normal number all of them and more.
  const int dropped = 23 - f + (exponent + 127 - std::max(static_cast<int>(bits >> 23), 1));
  if (dropped > 24) return 0;  // less than half of the least number
  const uint32_t hidden = bits >> 23 == 0 ? 0u : 0x800000u;
  const uint32_t fraction = (bits & 0x7fffffu) | hidden;
  const uint32_t odd = (fraction >> dropped) & 1u;
  const uint32_t rounded = (fraction + (1u << (dropped - 1)) - 1u + odd) >> dropped;
  // A normal number's leading 1 is counted in `rounded`, so it adds 1 to the exponent's field; and
  // so does a fraction that rounds up to the next power of two.
  const uint32_t code = (static_cast<uint32_t>(exponent + bias - 1) << f) + rounded;
  return std::min(code, largest);
}

void expect_length(const char* what, size_t found, int64_t wanted) {
  if (wanted >= 0 && found == static_cast<size_t>(wanted)) return;
  throw KernelError(std::string(what) + " has " + std::to_string(found) + " elements, wanted " +
                    std::to_string(wanted));
}

}  // namespace

float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  if (is_nan) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // stays one without its low bits
  const uint32_t odd = (bits >> 16) & 1u;
  return static_cast<uint16_t>((bits + 0x7fffu + odd) >> 16);
}

float f16_to_f32(uint16_t bits) { return half_like_to_f32(bits, 10); }

float f8_e4m3_to_f32(uint8_t bits) {
  const bool negative = (bits & 0x80u) != 0;
  const uint32_t exponent = (bits >> 3) & 0xfu;
  const uint32_t mantissa = bits & 0x7u;
  if (exponent == 0xf && mantissa == 0x7) {
    return std::bit_cast<float>(negative ? 0xffc00000u : 0x7fc00000u);
  }
  if (exponent == 0) return scaled(negative, mantissa, -9);
  return scaled(negative, mantissa | 0x8u, static_cast<int>(exponent) - 10);
}

uint8_t f32_to_f8_e4m3(float value) {
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 31 << 7;
  if (value != value) return static_cast<uint8_t>(sign | 0x7fu);
  return static_cast<uint8_t>(sign | nearest_code(std::fabs(value), 3, 7, 0x7eu));
}

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
