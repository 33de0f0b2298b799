#include "kernels/cpu/gemm/gemm_pairs.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/ops/quantize.h"
#include "kernels/queue.h"
#include "kernels/random.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,prefer-vector-width=512")
namespace troupe::kernels::cpu::avx512_bf16 {

#include "kernels/cpu/simd/simd_avx512.inl"
#include "kernels/cpu/simd/simd_common.inl"
#include "kernels/cpu/gemm/gemm_block.inl"

/// sum + the products of the upper halves, + the products of the lower halves. Numbers below 2^-126
/// count as zeros, of operands and of sums: see Extent.
inline F16 sum_pairs(F16 a, F16 b, F16 sum) {
  const auto pairs = [](F16 x) { return reinterpret_cast<__m512bh>(_mm512_castps_si512(x.v)); };
  return {_mm512_dpbf16_ps(sum.v, pairs(a), pairs(b))};
}

inline F16 upper_half(F16 pairs) { return as_float(as_int(pairs) & set1_int(-0x10000)); }
inline F16 lower_half(F16 pairs) { return {_mm512_castsi512_ps(_mm512_slli_epi32(as_int(pairs).v, 16))}; }

/// What is known of an operand's numbers.
struct Extent {
  /// Twice the least magnitude seen in each place, less two: so zeros, which are nobody's least, are the greatest.
  __m512i least_but_one;
  __mmask16 is_subnormal;  ///< one was seen below 2^-126 and not zero, which the processor's conversion takes for zero
  bool is_exact;           ///< convert without it

  // Written out: a constructor that the compiler makes is not for this instruction set.
  Extent() : least_but_one(_mm512_set1_epi32(-1)), is_subnormal(0), is_exact(false) {}

  void see(F16 pairs) {
    const __m512i twice = _mm512_add_epi16(as_int(pairs).v, as_int(pairs).v);
    least_but_one = _mm512_min_epu16(least_but_one, _mm512_sub_epi16(twice, _mm512_set1_epi16(2)));
  }
  /// As BF16 has it: 0 below 2^-126, 255 of infinities, NaNs, and where there are only zeros.
  int least_exponent() const {
    const __m256i half = _mm256_min_epu16(_mm512_castsi512_si256(least_but_one), _mm512_extracti64x4_epi64(least_but_one, 1));
    const __m128i quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    const int least = _mm_extract_epi16(_mm_minpos_epu16(quarter), 0);
    return least >= 0xfffe ? 255 : (least + 2) >> 8;
  }
};

/// 32 numbers as BF16: `low` in the lower half of the vector.
inline __m512i halves_of(F16 low, F16 high, Extent& extent) {
  if (extent.is_exact) {
    const auto half = [](F16 x) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(as_int(nearest_bf16(x)).v, 16)); };
    return _mm512_inserti64x4(_mm512_castsi256_si512(half(low)), half(high), 1);
  }
  extent.is_subnormal |= _mm512_fpclass_ps_mask(low.v, 0x20) | _mm512_fpclass_ps_mask(high.v, 0x20);
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v));
}

/// Elements of k of 16 rows: those of an even place and those behind them, as pairs with the even one in the upper half.
inline F16 pairs_of(F16 even, F16 odd, Extent& extent) {
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i both = halves_of(odd, even, extent);
  const F16 pairs{_mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(order), both))};
  extent.see(pairs);
  return pairs;
}

/// 32 neighbours of a row as 16 pairs.
inline F16 pairs_of_row(F16 first, F16 last, Extent& extent) {
  const F16 pairs{_mm512_castsi512_ps(_mm512_rol_epi32(halves_of(first, last, extent), 16))};
  extent.see(pairs);
  return pairs;
}

/// Rows or columns of an operand as the tiles read them: [steps, width] of pairs from `out` on, of which `count`
/// are written, and up to 15 more. Behind the last k stands `behind`.
struct PairsOut {
  float* out;
  int64_t width;
  int count;
  float behind;
  Extent& extent;

  /// Either k are neighbours and rows `stride` apart, or rows are and k `stride` apart.
  void put(const float* p, bool are_k_neighbours, int64_t stride, int64_t depth) const {
    are_k_neighbours ? put_rows(p, stride, depth) : put_columns(p, stride, depth);
    if (extent.is_subnormal == 0 || extent.is_exact) return;
    extent.is_exact = true;
    put(p, are_k_neighbours, stride, depth);
  }

  /// k are neighbours, rows `stride` apart.
  void put_rows(const float* p, int64_t stride, int64_t depth) const {
    Extent seen = extent;  // in registers
    for (int64_t k = 0; k < depth; k += 32) {
      alignas(64) float part[16 * 16];
      const int64_t last = std::min<int64_t>(32, depth - k);
      for (int i = 0; i < 16; ++i) {
        const float* row = p + i * stride + k;
        __builtin_prefetch(row + 64);
        __builtin_prefetch(row + 80);
        if (i >= count) {
          store(part + 16 * i, zero());
        } else if (last == 32) {
          store(part + 16 * i, pairs_of_row(load(row), load(row + 16), seen));
        } else {
          alignas(64) float rest[32];
          std::fill(rest, rest + 32, behind);
          std::copy(row, row + last, rest);
          store(part + 16 * i, pairs_of_row(load(rest), load(rest + 16), seen));
        }
      }
      F16 columns[16];
      load_transposed(part, 16, columns);
      if (last == 32) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) store(out + (k / 2 + i) * width, columns[i]);
      } else {
        for (int64_t i = 0; i < (last + 1) / 2; ++i) store(out + (k / 2 + i) * width, columns[i]);
      }
    }
    extent = seen;
  }

  /// The rows or columns are neighbours, k `stride` apart.
  void put_columns(const float* p, int64_t stride, int64_t depth) const {
    constexpr int64_t ahead = 32;  // each row is a line elsewhere, which no prefetcher foresees
    Extent seen = extent;
    for (int64_t k = 0; k < depth; k += 2) {
      __builtin_prefetch(p + (k + ahead) * stride);
      __builtin_prefetch(p + (k + ahead + 1) * stride);
      const F16 even = load_lanes(p + k * stride, count);
      const F16 odd = k + 1 < depth ? load_lanes(p + (k + 1) * stride, count) : set1(behind);
      store(out + k / 2 * width, pairs_of(even, odd, seen));
    }
    extent = seen;
  }
};

/// Pairs of elements of k: of numbers rounded to BF16, or of codes, which are BF16 as they are.
template <class Base>
struct Pairs : Base {
  static constexpr bool always_packs = true;
  static constexpr int64_t block_depth = Base::promotes ? scale_depth : 512;
  static constexpr int64_t steps_of(int64_t depth) { return (depth + 1) / 2; }
  using Extent = avx512_bf16::Extent;

  /// Whether pairs might not be summed as FMAs are. All sums are multiples of the product of both operands' last places,
  /// 2^(least exponents - 2 * (127 + 7)): from 2^-126 on nothing is rounded to zero.
  static bool in_turn(const Extent& a, const Extent& b) {
    const int a_least = a.least_exponent(), b_least = b.least_exponent();
    return a_least == 0 || b_least == 0 || a_least + b_least - 2 * (127 + 7) < -126;
  }

  template <int rows, int vectors, bool>
  static void add_products(const Tile& t, F16 (&sum)[rows][vectors]) {
    const float* a = t.a;
    const float* b = t.b;
    for (int64_t step = 0; step < t.steps; ++step) {
      F16 row[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) row[v] = load(b + 16 * v);
      if (t.in_turn) {
        for (int i = 0; i < rows; ++i) {
          for (int v = 0; v < vectors; ++v) {
            sum[i][v] = fma(upper_half(set1(a[i])), upper_half(row[v]), sum[i][v]);
            sum[i][v] = fma(lower_half(set1(a[i])), lower_half(row[v]), sum[i][v]);
          }
        }
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i) {
          const F16 factor = set1(a[i]);
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) sum[i][v] = sum_pairs(factor, row[v], sum[i][v]);
        }
      }
      a += t.a_k;
      b += t.b_k;
    }
  }
};

/// Panel of b: [steps, 16 or 32] with zeros behind the `cols` columns.
template <class Kind>
inline void pack_panel(const GemmBlock& g, int64_t first_k, int64_t depth, int64_t first_col, int cols, float* panel,
                       Extent& extent) {
  const int width = cols <= 16 ? 16 : panel_cols;
  for (int v = 0; v < width; v += 16) {
    const int n = std::min(16, cols - v);
    const PairsOut out{panel + v, width, n, 0.0f, extent};
    const float* b = g.b + (g.b_transposed ? (first_col + v) * g.b_stride + first_k : first_k * g.b_stride + first_col + v);
    out.put(b, g.b_transposed, g.b_stride, depth);
  }
}

/// Rows [first, first + rows) of a: [steps, rows]. Writes up to 15 pairs behind.
template <class Kind>
inline void pack_rows(const GemmBlock& g, int64_t first_k, int64_t depth, int64_t first, int64_t rows, float* packed,
                      Extent& extent) {
  const float* a = g.a + first * g.a_row + first_k * g.a_k;
  // Of minus zero: a sum that is minus zero stays it.
  const PairsOut out{packed, rows, static_cast<int>(rows), -0.0f, extent};
  const bool are_k_neighbours = g.a_row != 1 || g.a_k == 1;
  out.put(a, are_k_neighbours, are_k_neighbours ? g.a_row : g.a_k, depth);
}

inline bool are_summed_in_turn() {
  // Exponents near that of 1, so that each rounding counts; and products near and beyond the greatest number.
  struct Range {
    uint32_t factors, sums;
  };
  constexpr Range ranges[] = {{0x3c003c00, 0x38000000}, {0x5c005c00, 0x78000000}};
  for (uint32_t round = 0; round < 1024; ++round) {
    const Range& range = ranges[round % 2];
    alignas(64) uint32_t a[16], b[16], sum[16];
    for (uint32_t i = 0; i < 16; ++i) {
      const auto bits = philox4x32({round, i, 0, 0}, {0, 0});
      a[i] = (bits[0] & 0x87ff87ff) | range.factors;
      b[i] = (bits[1] & 0x87ff87ff) | range.factors;
      sum[i] = (bits[2] & 0x877fffff) | range.sums;
    }
    const auto lanes = [](const uint32_t* p) { return F16{_mm512_castsi512_ps(_mm512_load_si512(p))}; };
    const F16 x = lanes(a), y = lanes(b);
    const F16 chain = fma(lower_half(x), lower_half(y), fma(upper_half(x), upper_half(y), lanes(sum)));
    if (_mm512_cmpneq_epi32_mask(as_int(chain).v, as_int(sum_pairs(x, y, lanes(sum))).v) != 0) return false;
  }
  return true;
}

/// Of a tile's sums in registers: of 24 chains, `add` goes on with one.
template <class Add>
inline std::chrono::nanoseconds time_of_chains(const Add& add) {
  constexpr int chains = 24, steps = 200;
  F16 sum[chains];
  for (F16& one : sum) one = zero();
  const auto begin = std::chrono::steady_clock::now();
  for (int step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (F16& one : sum) {
      add(one);
      asm volatile("" : "+v"(one.v));  // each is made
    }
  }
  return std::chrono::steady_clock::now() - begin;
}

inline bool are_summed_faster() {
  F16 x = set1(1.0f), y = set1(0.5f);
  asm volatile("" : "+v"(x.v), "+v"(y.v));
  auto pairs = std::chrono::nanoseconds::max(), fmas = pairs;
  for (int i = 0; i < 10; ++i) {  // in turn: what disturbs is there for both
    pairs = std::min(pairs, time_of_chains([&](F16& sum) { sum = sum_pairs(x, y, sum); }));
    fmas = std::min(fmas, time_of_chains([&](F16& sum) { sum = fma(x, y, fma(x, y, sum)); }));
  }
  return 4 * pairs < 3 * fmas;
}

}  // namespace troupe::kernels::cpu::avx512_bf16
#pragma GCC pop_options

namespace troupe::kernels::cpu {

bool sums_pairs_in_turn() { return avx512_bf16::are_summed_in_turn(); }

bool sums_pairs_faster() {
  static const bool is_so = avx512_bf16::are_summed_faster();
  return is_so;
}

void multiply_pairs(const GemmBlock& part) {
  avx512_bf16::multiply_block<avx512_bf16::Pairs<avx512_bf16::Rounded>>(part);
}

void multiply_pairs_of_codes(const GemmBlock& part) {
  avx512_bf16::multiply_block<avx512_bf16::Pairs<avx512_bf16::Codes>>(part);
}

}  // namespace troupe::kernels::cpu
