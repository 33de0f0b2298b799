// Functions of one number that every device computes alike. Written over F16: 16 lanes of f32 on
// the CPU (cpu/simd_*.inl), one lane in a thread of the GPU (cuda/device/lane.cuh). TROUPE_LANE says how
// the functions are declared.

/// Nearest bfloat16, ties to even; beyond the largest one infinity; NaN stays NaN.
TROUPE_LANE F16 nearest_bf16(F16 value) {
  const I16 bits = as_int(value), upper = set1_int(-0x10000);
  const I16 odd = shift_right_arithmetic<16>(bits) & set1_int(1);
  const I16 rounded = (bits + set1_int(0x7fff) + odd) & upper;
  const I16 quiet = (bits & upper) | set1_int(0x400000);
  // The lesser one is NaN where the value is, and finite everywhere else.
  const F16 magnitude = as_float(bits & set1_int(0x7fffffff));
  const F16 finite = lesser_of(set1(std::numeric_limits<float>::max()), magnitude);
  return select_less(finite, set1(std::numeric_limits<float>::infinity()), as_float(rounded),
                     as_float(quiet));
}

#if !defined(TROUPE_LANE_SCALES)
/// a * 2^n for a in [1/2, 2) and n in [-252, 128]; NaN stays NaN, whatever n. Two factors, the first product exact,
/// so that results below the normal range are rounded once and not flushed.
TROUPE_LANE F16 times_power_of_two(F16 a, I16 n) {
  const I16 half = shift_right_arithmetic<1>(n);
  const F16 first = as_float(shift_left<23>(half + set1_int(127)));
  const F16 second = as_float(shift_left<23>(n - half + set1_int(127)));
  return (a * first) * second;
}
#endif

/// e^x. Largest error 1.06 ulp; exp(x) is +0 below -104 and +infinity above 88.73; NaN stays NaN.
/// 2^n * e^r with n = round(x / ln 2); a Taylor polynomial of degree 7 on |r| <= 0.35.
TROUPE_LANE F16 exp(F16 x) {
  // Clamped so that n stays in range; the comparison keeps NaN (greater_of's second operand).
  const F16 clamped = greater_of(set1(-105.0f), lesser_of(set1(89.0f), x));
  const I16 n = round_to_int(clamped * set1(1.44269504f));
  const F16 nf = to_float(n);
  F16 r = fma(nf, set1(-0.693145751953125f), clamped);  // ln 2, upper bits
  r = fma(nf, set1(-1.42860677e-06f), r);               // ln 2, the rest
  F16 p = set1(1.98412698e-04f);
  p = fma(p, r, set1(1.38888889e-03f));
  p = fma(p, r, set1(8.33333333e-03f));
  p = fma(p, r, set1(4.16666667e-02f));
  p = fma(p, r, set1(1.66666667e-01f));
  p = fma(p, r, set1(5.00000000e-01f));
  p = fma(p * r, r, r) + set1(1.0f);
  return times_power_of_two(p, n);
}

/// 1 / (1 + e^-x).
TROUPE_LANE F16 sigmoid(F16 x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }

/// ln x for finite x >= 2^-126, below 1 ulp; NaN stays NaN. x = 2^e m with m in [sqrt(1/2),
/// sqrt(2)), ln m = 2 artanh(s) with s = (m - 1) / (m + 1). Source: the polynomial of FreeBSD's
/// lib/msun/src/e_logf.c.
TROUPE_LANE F16 attention_log(F16 x) {
  const I16 shifted = as_int(x) + set1_int(0x3f800000 - 0x3f3504f3);
  const F16 e = to_float(shift_right_arithmetic<23>(shifted) - set1_int(127));
  const F16 m = as_float((shifted & set1_int(0x007fffff)) + set1_int(0x3f3504f3));
  const F16 f = m - set1(1.0f);
  const F16 s = f / (set1(2.0f) + f);
  const F16 z = s * s, w = z * z;
  const F16 odd = w * fma(w, set1(0.24279078841f), set1(0.40000972152f));
  const F16 even = z * fma(w, set1(0.28498786688f), set1(0.66666662693f));
  const F16 half_square = set1(0.5f) * f * f;
  const F16 rest = fma(s, half_square + (even + odd), e * set1(9.0580006145e-06f));
  return fma(e, set1(6.9313812256e-01f), f - (half_square - rest)) + (x - x);
}
