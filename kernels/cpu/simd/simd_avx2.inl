// F16 on AVX2 and FMA: 16 lanes of f32 in two registers. See simd_common.inl for the contract.
struct F16 {
  __m256 lo, hi;
};
struct I16 {
  __m256i lo, hi;
};
struct D8 {
  __m256d lo, hi;
};

inline F16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline void store_past_caches(float* p, F16 a) {
  _mm256_stream_ps(p, a.lo);
  _mm256_stream_ps(p + 8, a.hi);
}
inline __m256i lane_mask(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F16 load_first(const float* p, int n) {
  return {_mm256_maskload_ps(p, lane_mask(n)),
          n > 8 ? _mm256_maskload_ps(p + 8, lane_mask(n - 8)) : _mm256_setzero_ps()};
}
inline void store_first(float* p, F16 a, int n) {
  _mm256_maskstore_ps(p, lane_mask(n), a.lo);
  if (n > 8) _mm256_maskstore_ps(p + 8, lane_mask(n - 8), a.hi);
}
inline F16 operator+(F16 a, F16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
inline F16 operator-(F16 a, F16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
inline F16 operator*(F16 a, F16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
inline F16 operator/(F16 a, F16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F16 sqrt(F16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
inline F16 greater_of(F16 a, F16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
inline F16 lesser_of(F16 a, F16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
/// a < b ? x : y, lane by lane (y where a or b is NaN).
inline F16 select_less(F16 a, F16 b, F16 x, F16 y) {
  return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
inline I16 round_to_int(F16 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
inline F16 to_float(I16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
inline I16 set1_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline I16 operator+(I16 a, I16 b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
inline I16 operator-(I16 a, I16 b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
inline I16 operator&(I16 a, I16 b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
inline I16 operator|(I16 a, I16 b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
inline I16 operator^(I16 a, I16 b) {
  return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
template <int n>
inline I16 shift_left(I16 a) {
  return {_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)};
}
template <int n>
inline I16 shift_right_arithmetic(I16 a) {
  return {_mm256_srai_epi32(a.lo, n), _mm256_srai_epi32(a.hi, n)};
}
inline F16 as_float(I16 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
inline I16 as_int(F16 a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }

inline D8 set1_double(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
inline D8 halves_to_double(__m256 a) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1))};
}
inline D8 low_double(F16 a) { return halves_to_double(a.lo); }
inline D8 high_double(F16 a) { return halves_to_double(a.hi); }
inline D8 operator+(D8 a, D8 b) {
  return {_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)};
}
inline D8 operator*(D8 a, D8 b) {
  return {_mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi)};
}
inline D8 fma(D8 a, D8 b, D8 c) {
  return {_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)};
}
inline void store(double* p, D8 a) {
  _mm256_storeu_pd(p, a.lo);
  _mm256_storeu_pd(p + 4, a.hi);
}
/// Rounds to nearest even; |a| < 2^63.
inline void store_rounded(int64_t* p, D8 a) {
  alignas(32) double lanes[8];
  store(lanes, a);
  for (int i = 0; i < 8; ++i) p[i] = _mm_cvtsd_si64(_mm_set_sd(lanes[i]));
}
inline void store_rounded_past_caches(int64_t* p, D8 a) { store_rounded(p, a); }
/// The nearest f64 of 8 integers.
inline D8 load_int64(const int64_t* p) {
  alignas(32) double lanes[8];
  for (int i = 0; i < 8; ++i) lanes[i] = static_cast<double>(p[i]);
  return {_mm256_load_pd(lanes), _mm256_load_pd(lanes + 4)};
}
/// Two D8 rounded to one F16.
inline F16 to_float(D8 low, D8 high) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(low.hi), _mm256_cvtpd_ps(low.lo)),
          _mm256_set_m128(_mm256_cvtpd_ps(high.hi), _mm256_cvtpd_ps(high.lo))};
}

constexpr int f16_registers = 8;

/// The 8 rows from p on, four columns of them: out[i] lane j = p[j * stride + i].
inline void load_transposed(const float* p, int64_t stride, __m256 (&out)[4]) {
  __m256 row[4];  // half h of row[i]: four elements of row 4 h + i
  for (int i = 0; i < 4; ++i) {
    const float* q = p + i * stride;
    row[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(q)),
                                  _mm_loadu_ps(q + 4 * stride), 1);
  }
  const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(row[0], row[1]));
  const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(row[0], row[1]));
  const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(row[2], row[3]));
  const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(row[2], row[3]));
  out[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
  out[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
  out[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
  out[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
}

/// out[i] lane j = p[j * stride + i], i and j below 16.
inline void load_transposed(const float* p, int64_t stride, F16 (&out)[16]) {
  for (int quad = 0; quad < 4; ++quad) {
    __m256 low[4], high[4];
    load_transposed(p + quad * 4, stride, low);
    load_transposed(p + quad * 4 + 8 * stride, stride, high);
    for (int i = 0; i < 4; ++i) out[quad * 4 + i] = {low[i], high[i]};
  }
}
