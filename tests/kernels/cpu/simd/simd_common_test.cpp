// The lanes under every kernel: exp's error over its whole range, and each operation equal on
// every instruction set. The file is compiled once a set, as kernels are.
#if !defined(TROUPE_ISA_PASS)

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own AVX-512 header
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "tests/kernels/arrangements.h"

#define TROUPE_ISA_FILE "tests/kernels/cpu/simd/simd_common_test.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using namespace kernels::cpu;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// exp of each, on the current instruction set.
std::vector<float> exps(const std::vector<float>& x) {
  std::vector<float> y(x.size());
  TROUPE_ISA_CALL(exp_all)(x.data(), y.data(), static_cast<int64_t>(x.size()));
  return y;
}

/// The bits of each, with one pattern for NaN: which one an operation gives is nobody's promise.
std::vector<uint32_t> bits_of(const std::vector<float>& x) {
  std::vector<uint32_t> bits;
  for (const float v : x) bits.push_back(std::isnan(v) ? 0x7fc00000u : std::bit_cast<uint32_t>(v));
  return bits;
}

/// Floats of every size: random bits, and what is special.
std::vector<float> all_kinds(size_t count, uint32_t stream) {
  const std::vector<float> special{0.0f,      -0.0f,         1.0f,      -1.0f,     infinity,
                                   -infinity, std::nanf(""), 0x1p-149f, 0x1p-126f, 0x1.fffffep127f,
                                   2.5f,      -2.5f,         0x1p31f,   -0x1p31f,  1e20f};
  std::vector<float> out;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = random_bits({5, Purpose::test, stream, i});
    out.push_back(bits >> 61 == 0 ? special[(bits >> 32) % special.size()]
                                  : std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  return out;
}

TEST(Simd, ExpHasTheStatedErrorOverItsWholeRange) {
  const IsaGuard guard;
  std::vector<float> x;
  for (uint32_t bits = 0; bits < 0x42d20000u; bits += 1009) {  // up to 105
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-x.back());
  }
  while (x.size() % 16 != 0) x.push_back(0.0f);

  const auto expected = exps(x);

  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    if (exact > 0x1.fffffep127) {
      EXPECT_EQ(expected[i], infinity) << x[i];
      continue;
    }
    const float rounded = std::fabs(static_cast<float>(exact));
    const double ulp = static_cast<double>(std::nextafter(rounded, infinity)) - rounded;
    worst = std::max(worst, std::fabs(expected[i] - exact) / ulp);
  }
  EXPECT_LE(worst, 1.06);
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    EXPECT_TRUE(same_bits(exps(x), expected)) << to_string(isa);
  }
}

TEST(Simd, ExpAtTheEnds) {
  const IsaGuard guard;
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    const auto y = exps({0.0f, -0.0f, infinity, -infinity, std::nanf(""), 88.72f, 88.73f, -104.0f,
                         -103.9f, -87.4f, 1e30f, -1e30f, 1e-40f, -1e-40f, 0.0f, 0.0f});

    EXPECT_EQ(y[0], 1.0f);
    EXPECT_EQ(y[1], 1.0f);
    EXPECT_EQ(y[2], infinity);
    EXPECT_EQ(y[3], 0.0f);
    EXPECT_TRUE(std::isnan(y[4]));
    EXPECT_TRUE(std::isfinite(y[5]));
    EXPECT_EQ(y[6], infinity);
    EXPECT_EQ(y[7], 0.0f);
    EXPECT_EQ(y[8], 0x1p-149f);
    EXPECT_GT(y[9], 0.0f);
    EXPECT_LT(y[9], 0x1p-126f);
    EXPECT_EQ(y[10], infinity);
    EXPECT_EQ(y[11], 0.0f);
    EXPECT_EQ(y[12], 1.0f);
    EXPECT_EQ(y[13], 1.0f);
  }
}

// Law 1: whichever machine computes, the bits are the same.
TEST(Simd, EveryOperationIsTheSameOnEveryInstructionSet) {
  const IsaGuard guard;
  const size_t count = 16 * 4000;
  const auto a = all_kinds(count, 1), b = all_kinds(count, 2), c = all_kinds(count, 3);
  const auto run = [&](Isa isa) {
    force_isa(isa);
    std::vector<float> all(count / 16 * 512);
    float* out = all.data();
    for (size_t i = 0; i < count; i += 16) {
      out = TROUPE_ISA_CALL(float_operations)(a.data() + i, b.data() + i, c.data() + i, out);
    }
    all.resize(static_cast<size_t>(out - all.data()));
    return bits_of(all);
  };

  const auto expected = run(Isa::portable);

  for (const Isa isa : available_isas()) EXPECT_TRUE(run(isa) == expected) << to_string(isa);
  const size_t each =
      expected.size() / (count / 16);  // results of 16 lanes, operation by operation
  for (size_t i = 0; i < count; ++i) {
    const auto found = [&](size_t operation) {
      return expected[i / 16 * each + operation * 16 + i % 16];
    };
    const auto wanted = bits_of({a[i] + b[i], a[i] - b[i], a[i] * b[i], a[i] / b[i],
                                 std::fma(a[i], b[i], c[i]), std::sqrt(a[i])});
    for (size_t operation = 0; operation < wanted.size(); ++operation) {
      ASSERT_EQ(found(operation), wanted[operation]) << operation << ": " << a[i] << ", " << b[i];
    }
  }
}

TEST(Simd, IntegersAndDoublesAreTheSameOnEveryInstructionSet) {
  const IsaGuard guard;
  std::vector<int64_t> integers;
  std::vector<float> small;
  for (uint64_t i = 0; i < 1600; ++i) {
    const uint64_t bits = random_bits({5, Purpose::test, 4, i});
    integers.push_back(static_cast<int64_t>(bits) >> (i % 62));
    small.push_back(std::ldexp(static_cast<float>(random_normal({5, Purpose::test, 5, i})),
                               static_cast<int>(i % 50)));
  }
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    for (size_t i = 0; i < 1600; i += 16) {
      double doubles[8];
      int64_t rounded[16];
      float back[16];
      TROUPE_ISA_CALL(double_operations)
      (integers.data() + i, small.data() + i, doubles, rounded, back);
      for (size_t j = 0; j < 16; ++j) {
        EXPECT_EQ(doubles[j % 8], static_cast<double>(integers[i + j % 8]));
        EXPECT_EQ(rounded[j], std::llrint(static_cast<double>(small[i + j]) * 1.5));
        EXPECT_EQ(back[j], static_cast<float>(static_cast<double>(small[i + j]) * 0.1));
      }
    }
  }
}

TEST(Simd, TouchesTheFirstLanesAlone) {
  const IsaGuard guard;
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    for (int n = 0; n < 16; ++n) {
      const std::vector<float> from(static_cast<size_t>(n), 3.0f);  // a sanitizer sees the end
      std::vector<float> to(20, -1.0f);
      float lanes[16];

      TROUPE_ISA_CALL(partial)(from.data(), to.data(), lanes, n);

      for (int i = 0; i < 20; ++i) EXPECT_EQ(to[static_cast<size_t>(i)], i < n ? 3.0f : -1.0f);
      for (int i = 0; i < 16; ++i)
        EXPECT_EQ(std::bit_cast<uint32_t>(lanes[i]), std::bit_cast<uint32_t>(i < n ? 3.0f : 0.0f));
    }
  }
}

TEST(Simd, SumsByAFixedTree) {
  const IsaGuard guard;
  const auto x = to_vector(normal({16}, 1, 100.0f));
  float tree[16];
  std::copy(x.begin(), x.end(), tree);
  for (int width : {8, 4, 2, 1}) {
    for (int i = 0; i < width; ++i) tree[i] += tree[i + width];
  }
  for (const Isa isa : available_isas()) {
    force_isa(isa);
    EXPECT_EQ(TROUPE_ISA_CALL(sum_of)(x.data()), tree[0]) << to_string(isa);
    EXPECT_EQ(TROUPE_ISA_CALL(greatest_of)(x.data()), *std::max_element(x.begin(), x.end()));
  }
}

}  // namespace
}  // namespace troupe::tests

#else

inline void exp_all(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) store(y + i, exp(load(x + i)));
}

inline float* put(float* out, F16 a) {
  store(out, a);
  return out + 16;
}

/// Writes the results of all operations, and gives the end of them.
inline float* float_operations(const float* pa, const float* pb, const float* pc, float* out) {
  const F16 a = load(pa), b = load(pb), c = load(pc);
  const I16 i = as_int(a), j = as_int(b);
  for (const F16 x : {a + b, a - b, a * b, a / b, fma(a, b, c), sqrt(a), greater_of(a, b),
                      lesser_of(a, b), select_less(a, b, c, a), to_float(i), exp(a), sigmoid(a)}) {
    out = put(out, x);
  }
  for (const I16 x : {round_to_int(a), i + j, i - j, i & j, i | j, i ^ j, shift_left<5>(i),
                      shift_right_arithmetic<3>(i), set1_int(-7)}) {
    out = put(out, as_float(x));
  }
  return out;
}

/// f64 of 8 integers; f32 times 1.5 rounded to integers; f32 times 0.1 in f64, rounded to f32.
inline void double_operations(const int64_t* integers, const float* x, double* doubles,
                              int64_t* rounded, float* back) {
  store(doubles, load_int64(integers));
  const D8 low = low_double(load(x)), high = high_double(load(x));
  store_rounded(rounded, low * set1_double(1.5));
  store_rounded(rounded + 8, high * set1_double(1.5));
  store(back, to_float(low * set1_double(0.1), high * set1_double(0.1)));
}

inline void partial(const float* from, float* to, float* lanes, int n) {
  const F16 a = load_first(from, n);
  store(lanes, a);
  store_first(to, a, n);
}

inline float sum_of(const float* x) { return sum_lanes(load(x)); }
inline float greatest_of(const float* x) { return greatest_lane(load(x)); }

#endif
