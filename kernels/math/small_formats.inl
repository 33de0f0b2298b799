// BF16 and E4M3 to and from f32, for every device: quantize.h says what they are. TROUPE_SCALAR
// says how the functions are declared.

/// A finite number sign * mantissa * 2^exponent of few bits, as f32: exact.
TROUPE_SCALAR float scaled(bool negative, uint32_t mantissa, int exponent) {
  const float power = std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
  const float magnitude = static_cast<float>(mantissa) * power;
  return negative ? -magnitude : magnitude;
}

/// Exponent and fraction of a format with f fraction bits and the exponent's `bias` to the nearest
/// even, as an integer whose lower f bits are the fraction; at most `largest`.
TROUPE_SCALAR uint32_t nearest_code(float magnitude, int f, int bias, uint32_t largest) {
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

TROUPE_SCALAR float of_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

TROUPE_SCALAR uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  if (is_nan) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // stays one without its low bits
  const uint32_t odd = (bits >> 16) & 1u;
  return static_cast<uint16_t>((bits + 0x7fffu + odd) >> 16);
}

TROUPE_SCALAR float of_e4m3(uint8_t bits) {
  const bool negative = (bits & 0x80u) != 0;
  const uint32_t exponent = (bits >> 3) & 0xfu;
  const uint32_t mantissa = bits & 0x7u;
  if (exponent == 0xf && mantissa == 0x7) {
    return std::bit_cast<float>(negative ? 0xffc00000u : 0x7fc00000u);
  }
  if (exponent == 0) return scaled(negative, mantissa, -9);
  return scaled(negative, mantissa | 0x8u, static_cast<int>(exponent) - 10);
}

TROUPE_SCALAR uint8_t to_e4m3(float value) {
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 31 << 7;
  if (value != value) return static_cast<uint8_t>(sign | 0x7fu);
  return static_cast<uint8_t>(sign | nearest_code(std::fabs(value), 3, 7, 0x7eu));
}
