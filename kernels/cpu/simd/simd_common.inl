// What every instruction set shares, over F16 (16 lanes of f32), I16 (of i32) and D8 (8 of f64).
// Contract: each operation is the IEEE one, lane by lane, so all sets give the same bits.
// `load_first(p, n)` and `store_first(p, a, n)` touch the first n lanes alone, 0 <= n < 16; the
// lanes behind are +0. greater_of and lesser_of give their second operand when either is NaN.
// `store_past_caches(p, a)` and `store_rounded_past_caches(p, a)` are for what is not read again soon; p is aligned to
// 64 bytes, and `_mm_sfence` stands between them and whoever is told.
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

/// store_lanes of what is not read again soon: see store_past_caches.
inline void store_lanes_past_caches(float* p, F16 a, int n) {
  if (n == 16 && reinterpret_cast<uintptr_t>(p) % 64 == 0) {
    store_past_caches(p, a);
  } else {
    store_lanes(p, a, n);
  }
}

/// Sum of products of two rows: lane i takes elements i, i + 16, ... by FMA, then the fixed tree.
inline float dot(const float* a, const float* b, int64_t count) {
  F16 sum = zero();
  for_lanes(count, [&](int64_t i, int n) {
    sum = fma(load_lanes(a + i, n), load_lanes(b + i, n), sum);
  });
  return sum_lanes(sum);
}

#define TROUPE_LANE inline
#include "kernels/math/lane_math.inl"
#undef TROUPE_LANE
#undef TROUPE_LANE_SCALES
