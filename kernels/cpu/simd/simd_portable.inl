// F16 in plain C++: 16 lanes of f32 in an array. See simd_common.inl for the contract. Slow where
// the machine has no FMA (std::fma is then a function), and equal to the others bit for bit.
struct F16 {
  float v[16];
};
struct I16 {
  int32_t v[16];
};
struct D8 {
  double v[8];
};

template <class R, class F>
inline R lanes16(F f) {
  R r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}
template <class F>
inline D8 lanes8(F f) {
  D8 r;
  for (int i = 0; i < 8; ++i) r.v[i] = f(i);
  return r;
}

inline F16 set1(float x) {
  return lanes16<F16>([&](int) { return x; });
}
inline F16 load(const float* p) {
  return lanes16<F16>([&](int i) { return p[i]; });
}
inline void store(float* p, F16 a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
inline void store_past_caches(float* p, F16 a) { store(p, a); }
inline F16 load_first(const float* p, int n) {
  return lanes16<F16>([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store_first(float* p, F16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
inline F16 operator+(F16 a, F16 b) {
  return lanes16<F16>([&](int i) { return a.v[i] + b.v[i]; });
}
inline F16 operator-(F16 a, F16 b) {
  return lanes16<F16>([&](int i) { return a.v[i] - b.v[i]; });
}
inline F16 operator*(F16 a, F16 b) {
  return lanes16<F16>([&](int i) { return a.v[i] * b.v[i]; });
}
inline F16 operator/(F16 a, F16 b) {
  return lanes16<F16>([&](int i) { return a.v[i] / b.v[i]; });
}
inline F16 fma(F16 a, F16 b, F16 c) {
  return lanes16<F16>([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline F16 sqrt(F16 a) {
  return lanes16<F16>([&](int i) { return std::sqrt(a.v[i]); });
}
// As the machine's instructions have it: the second operand where either is NaN or both are zero.
inline F16 greater_of(F16 a, F16 b) {
  return lanes16<F16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F16 lesser_of(F16 a, F16 b) {
  return lanes16<F16>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
/// a < b ? x : y, lane by lane (y where a or b is NaN).
inline F16 select_less(F16 a, F16 b, F16 x, F16 y) {
  return lanes16<F16>([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
inline int32_t round_lane(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }
inline I16 round_to_int(F16 a) {
  return lanes16<I16>([&](int i) { return round_lane(a.v[i]); });
}
inline F16 to_float(I16 a) {
  return lanes16<F16>([&](int i) { return static_cast<float>(a.v[i]); });
}
inline I16 set1_int(int32_t x) {
  return lanes16<I16>([&](int) { return x; });
}
inline int32_t wrap(uint32_t x) { return static_cast<int32_t>(x); }
inline uint32_t bits(int32_t x) { return static_cast<uint32_t>(x); }
inline I16 operator+(I16 a, I16 b) {
  return lanes16<I16>([&](int i) { return wrap(bits(a.v[i]) + bits(b.v[i])); });
}
inline I16 operator-(I16 a, I16 b) {
  return lanes16<I16>([&](int i) { return wrap(bits(a.v[i]) - bits(b.v[i])); });
}
inline I16 operator&(I16 a, I16 b) {
  return lanes16<I16>([&](int i) { return a.v[i] & b.v[i]; });
}
inline I16 operator|(I16 a, I16 b) {
  return lanes16<I16>([&](int i) { return a.v[i] | b.v[i]; });
}
inline I16 operator^(I16 a, I16 b) {
  return lanes16<I16>([&](int i) { return a.v[i] ^ b.v[i]; });
}
template <int n>
inline I16 shift_left(I16 a) {
  return lanes16<I16>([&](int i) { return wrap(bits(a.v[i]) << n); });
}
template <int n>
inline I16 shift_right_arithmetic(I16 a) {
  return lanes16<I16>([&](int i) { return a.v[i] >> n; });
}
inline F16 as_float(I16 a) {
  F16 r;
  std::memcpy(r.v, a.v, sizeof r.v);
  return r;
}
inline I16 as_int(F16 a) {
  I16 r;
  std::memcpy(r.v, a.v, sizeof r.v);
  return r;
}

inline D8 set1_double(double x) {
  return lanes8([&](int) { return x; });
}
inline D8 low_double(F16 a) {
  return lanes8([&](int i) { return static_cast<double>(a.v[i]); });
}
inline D8 high_double(F16 a) {
  return lanes8([&](int i) { return static_cast<double>(a.v[i + 8]); });
}
inline D8 operator+(D8 a, D8 b) {
  return lanes8([&](int i) { return a.v[i] + b.v[i]; });
}
inline D8 operator*(D8 a, D8 b) {
  return lanes8([&](int i) { return a.v[i] * b.v[i]; });
}
inline D8 fma(D8 a, D8 b, D8 c) {
  return lanes8([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline void store(double* p, D8 a) {
  for (int i = 0; i < 8; ++i) p[i] = a.v[i];
}
/// Rounds to nearest even; |a| < 2^63.
inline void store_rounded(int64_t* p, D8 a) {
  for (int i = 0; i < 8; ++i) p[i] = _mm_cvtsd_si64(_mm_set_sd(a.v[i]));
}
inline void store_rounded_past_caches(int64_t* p, D8 a) { store_rounded(p, a); }
/// The nearest f64 of 8 integers.
inline D8 load_int64(const int64_t* p) {
  return lanes8([&](int i) { return static_cast<double>(p[i]); });
}
/// Two D8 rounded to one F16.
inline F16 to_float(D8 low, D8 high) {
  return lanes16<F16>([&](int i) { return static_cast<float>(i < 8 ? low.v[i] : high.v[i - 8]); });
}

constexpr int f16_registers = 1;

/// out[i] lane j = p[j * stride + i], i and j below 16.
inline void load_transposed(const float* p, int64_t stride, F16 (&out)[16]) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) out[i].v[j] = p[j * stride + i];
  }
}
