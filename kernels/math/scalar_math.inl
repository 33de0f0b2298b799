// e^x and ln x in f64, for every device: scalar_math.h says what they are. TROUPE_SCALAR says how
// the functions are declared.

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// ln 2 in parts; the first has trailing zeros, so that n * part is exact for small n.
constexpr double ln2_hi = 0x1.62e42fefa38p-1;
constexpr double ln2_lo = 0x1.ef35793c7673p-45;

/// Rounds to the nearest integer (ties to even) for |x| < 2^51.
TROUPE_SCALAR double nearest(double x) {
  constexpr double shift = 0x1.8p52;
  volatile double shifted = x + shift;
  return shifted - shift;
}

TROUPE_SCALAR double power_of_two(int64_t n) {  // -1022 <= n <= 1023
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

TROUPE_SCALAR double exp_of(double x) {
  if (x != x) return x;
  if (x > 709.79) return infinity;
  if (x < -745.2) return 0.0;
  const double n = nearest(x * 1.4426950408889634);
  double r = std::fma(n, -ln2_hi, x);
  r = std::fma(n, -ln2_lo, r);
  double p = 1.0 / 87178291200.0;  // 1 / 14!
  constexpr double reciprocal_factorials[] = {1.0 / 6227020800.0, 1.0 / 479001600.0,
                                              1.0 / 39916800.0,   1.0 / 3628800.0,
                                              1.0 / 362880.0,     1.0 / 40320.0,
                                              1.0 / 5040.0,       1.0 / 720.0,
                                              1.0 / 120.0,        1.0 / 24.0,
                                              1.0 / 6.0,          0.5};
  for (double c : reciprocal_factorials) p = std::fma(p, r, c);
  p = std::fma(p * r, r, r) + 1.0;
  const int64_t k = static_cast<int64_t>(n);
  const int64_t half = k / 2;
  return p * power_of_two(half) * power_of_two(k - half);
}

TROUPE_SCALAR double log_of(double x) {
  if (x != x || x == infinity) return x;
  if (x < 0) return nan;
  if (x == 0) return -infinity;
  int64_t exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    exponent = -54;
  }
  uint64_t bits = std::bit_cast<uint64_t>(x);
  exponent += static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  // ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 23.0;
  for (double k = 21.0; k >= 3.0; k -= 2.0) p = std::fma(p, z, 1.0 / k);
  const double e = static_cast<double>(exponent);
  const double tail = std::fma(2.0 * s * z, p, e * ln2_lo);
  return std::fma(e, ln2_hi, std::fma(2.0, s, tail));
}
