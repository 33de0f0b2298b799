// The scale of a tile and the codes of its numbers, as lane_math.inl has other functions of a
// number. Needs TileRule and Scaling of kernels/cpu/tile_codes.h.

TROUPE_LANE F16 absolute_lanes(F16 x) { return as_float(as_int(x) & set1_int(0x7fffffff)); }

/// Greatest absolute value, and a sum that is NaN if there was a NaN or an infinity.
struct TileExtent {
  F16 amax, trouble;
};
TROUPE_LANE void extend(TileExtent& extent, F16 x) {
  extent.amax = greater_of(absolute_lanes(x), extent.amax);  // keeps amax where x is NaN
  extent.trouble = fma(x, zero(), extent.trouble);
}

TROUPE_LANE F16 scale_lanes(const TileRule& rule, const TileExtent& extent) {
  const F16 amax = greater_of(extent.amax, set1(rule.least_amax));
  const I16 exponent = set1_int(0x7f800000);
  F16 scale = amax / set1(rule.largest);
  if (rule.scaling == Scaling::least_power) {
    // A fraction that is not zero carries into the exponent; then the fraction goes.
    scale = as_float((as_int(scale) + set1_int(0x7fffff)) & exponent);
  } else if (rule.scaling == Scaling::mx) {
    scale = as_float(as_int(amax) & exponent) * set1(0x1p-8f);
  }
  return select_less(extent.trouble, set1(1.0f), scale,
                     set1(std::numeric_limits<float>::quiet_NaN()));
}

/// Numbers with f fraction bits between two powers of two, 2^e and 2^(e + 1), are 2^(e - f) apart.
/// Adding 1.5 * 2^(23 + e - f) rounds to a multiple of that, since it is where f32's numbers are
/// that far apart, ties to even; subtracting it again is exact. Below the least normal number the
/// distance stays.
TROUPE_LANE F16 encode_lanes(const TileRule& rule, F16 x, F16 scale) {
  const F16 value = x / scale;
  const F16 magnitude = lesser_of(set1(rule.largest), absolute_lanes(value));
  const F16 power = as_float(as_int(magnitude) & set1_int(0x7f800000));
  const F16 shift = greater_of(power, set1(rule.least_normal)) * set1(rule.rounder);
  const F16 rounded = (magnitude + shift) - shift;
  const I16 sign = as_int(value) & set1_int(std::numeric_limits<int32_t>::min());
  return select_less(scale, set1(std::numeric_limits<float>::infinity()),
                     as_float(as_int(rounded) | sign),
                     set1(std::numeric_limits<float>::quiet_NaN()));
}
