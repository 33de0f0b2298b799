// What every instruction set shares, over F16 (16 lanes of f32), I16 (of i32) and D8 (8 of f64).
// Contract: each operation is the IEEE one, lane by lane, so all sets give the same bits.
// `load_first(p, n)` and `store_first(p, a, n)` touch the first n lanes alone, 0 <= n < 16; the
// lanes behind are +0. greater_of and lesser_of give their second operand when either is NaN.
// `f16_registers` says how many F16 the machine's registers hold: tile sizes may depend on it.

inline F16 zero() { return set1(0.0f); }

/// Sum of 16 lanes by a fixed tree: (i, i + 8), (i, i + 4), (i, i + 2), (0, 1).
inline float sum_lanes(F16 a) {
  float v[16];
  store(v, a);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] + v[i + width];
  }
  return v[0];
}
inline double sum_lanes(D8 a) {
  double v[8];
  store(v, a);
  for (int width = 4; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] + v[i + width];
  }
  return v[0];
}
inline float greatest_lane(F16 a) {
  float v[16];
  store(v, a);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] > v[i + width] ? v[i] : v[i + width];
  }
  return v[0];
}

/// Calls f(i, n) for i = 0, 16, 32, ...: n lanes are there, 16 but for the last call.
template <class F>
inline void for_lanes(int64_t count, F f) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) f(i, 16);
  if (i < count) f(i, static_cast<int>(count - i));
}
inline F16 load_lanes(const float* p, int n) { return n == 16 ? load(p) : load_first(p, n); }
inline void store_lanes(float* p, F16 a, int n) {
  if (n == 16) {
    store(p, a);
  } else {
    store_first(p, a, n);
  }
}

/// Nearest bfloat16, ties to even; beyond the largest one infinity; NaN stays NaN.
inline F16 nearest_bf16(F16 value) {
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

/// Sum of products of two rows: lane i takes elements i, i + 16, ... by FMA, then the fixed tree.
inline float dot(const float* a, const float* b, int64_t count) {
  F16 sum = zero();
  for_lanes(count, [&](int64_t i, int n) {
    sum = fma(load_lanes(a + i, n), load_lanes(b + i, n), sum);
  });
  return sum_lanes(sum);
}

/// e^x. Largest error 1.06 ulp; exp(x) is +0 below -104 and +infinity above 88.73; NaN stays NaN.
/// 2^n * e^r with n = round(x / ln 2); a Taylor polynomial of degree 7 on |r| <= 0.35.
inline F16 exp(F16 x) {
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
  // Two factors, so that results below the normal range are rounded once and not flushed.
  const I16 half = shift_right_arithmetic<1>(n);
  const I16 rest = n - half;
  const F16 a = as_float(shift_left<23>(half + set1_int(127)));
  const F16 b = as_float(shift_left<23>(rest + set1_int(127)));
  return (p * a) * b;
}

/// 1 / (1 + e^-x).
inline F16 sigmoid(F16 x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }
