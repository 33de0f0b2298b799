// F16 on AVX-512: 16 lanes of f32 in one register. See simd_common.inl for the contract.
struct F16 {
  __m512 v;
};
struct I16 {
  __m512i v;
};
/// 8 lanes of f64.
struct D8 {
  __m512d v;
};

inline F16 set1(float x) { return {_mm512_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
inline void store_past_caches(float* p, F16 a) { _mm512_stream_ps(p, a.v); }
inline F16 load_first(const float* p, int n) {
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p)};
}
inline void store_first(float* p, F16 a, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), a.v);
}
inline F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 sqrt(F16 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F16 greater_of(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 lesser_of(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
/// a < b ? x : y, lane by lane (y where a or b is NaN).
inline F16 select_less(F16 a, F16 b, F16 x, F16 y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline I16 round_to_int(F16 a) { return {_mm512_cvtps_epi32(a.v)}; }
inline F16 to_float(I16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline I16 set1_int(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline I16 operator+(I16 a, I16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline I16 operator-(I16 a, I16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline I16 operator&(I16 a, I16 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline I16 operator|(I16 a, I16 b) { return {_mm512_or_si512(a.v, b.v)}; }
inline I16 operator^(I16 a, I16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int n>
inline I16 shift_left(I16 a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
inline I16 shift_right_arithmetic(I16 a) {
  return {_mm512_srai_epi32(a.v, n)};
}
inline F16 as_float(I16 a) { return {_mm512_castsi512_ps(a.v)}; }
inline I16 as_int(F16 a) { return {_mm512_castps_si512(a.v)}; }

/// In one instruction what kernels/math/lane_math.inl writes out, for what it says there.
#define TROUPE_LANE_SCALES
inline F16 times_power_of_two(F16 a, I16 n) { return {_mm512_scalef_ps(a.v, _mm512_cvtepi32_ps(n.v))}; }

inline D8 set1_double(double x) { return {_mm512_set1_pd(x)}; }
inline D8 low_double(F16 a) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))}; }
inline D8 high_double(F16 a) { return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))}; }
inline D8 operator+(D8 a, D8 b) { return {_mm512_add_pd(a.v, b.v)}; }
inline D8 operator*(D8 a, D8 b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline D8 fma(D8 a, D8 b, D8 c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
inline void store(double* p, D8 a) { _mm512_storeu_pd(p, a.v); }
/// Rounds to nearest even; |a| < 2^63.
inline void store_rounded(int64_t* p, D8 a) { _mm512_storeu_si512(p, _mm512_cvtpd_epi64(a.v)); }
inline void store_rounded_past_caches(int64_t* p, D8 a) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), _mm512_cvtpd_epi64(a.v));
}
/// The nearest f64 of 8 integers.
inline D8 load_int64(const int64_t* p) { return {_mm512_cvtepi64_pd(_mm512_loadu_si512(p))}; }
/// Two D8 rounded to one F16.
inline F16 to_float(D8 low, D8 high) {
  return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low.v)),
                             _mm512_cvtpd_ps(high.v), 1)};
}

// With a mask of all lanes: GCC 12 warns of the plain forms (GCC bug 105593).
inline __m512 low_pairs(__m512 a, __m512 b) { return _mm512_maskz_unpacklo_ps(0xffff, a, b); }
inline __m512 high_pairs(__m512 a, __m512 b) { return _mm512_maskz_unpackhi_ps(0xffff, a, b); }

constexpr int f16_registers = 32;

/// out[i] lane j = p[j * stride + i], i and j below 16.
inline void load_transposed(const float* p, int64_t stride, F16 (&out)[16]) {
  // Quarters of the registers: an even pair of them from the first source, then from the second.
  const __m512i even = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
  const __m512i odd = _mm512_setr_epi32(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  const auto load_halves = [](const float* low, const float* high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high),
                              1);
  };
  for (int half = 0; half < 2; ++half) {
    __m512 row[2][4];  // quarter r of row[q][i]: elements 8 half + 4 q .. + 3 of row 4 r + i
    for (int i = 0; i < 4; ++i) {
      const float* q = p + i * stride + half * 8;
      const __m512 rows02 = load_halves(q, q + 8 * stride);
      const __m512 rows13 = load_halves(q + 4 * stride, q + 12 * stride);
      row[0][i] = _mm512_permutex2var_ps(rows02, even, rows13);
      row[1][i] = _mm512_permutex2var_ps(rows02, odd, rows13);
    }
    for (int q = 0; q < 2; ++q) {
      const __m512d low01 = _mm512_castps_pd(low_pairs(row[q][0], row[q][1]));
      const __m512d high01 = _mm512_castps_pd(high_pairs(row[q][0], row[q][1]));
      const __m512d low23 = _mm512_castps_pd(low_pairs(row[q][2], row[q][3]));
      const __m512d high23 = _mm512_castps_pd(high_pairs(row[q][2], row[q][3]));
      F16* column = out + half * 8 + q * 4;
      column[0].v = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, low01, low23));
      column[1].v = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, low01, low23));
      column[2].v = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, high01, high23));
      column[3].v = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, high01, high23));
    }
  }
}
