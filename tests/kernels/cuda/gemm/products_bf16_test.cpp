// The products of linear layers in the arithmetic sm_90a: any shape, groups, and units that go into
// fixed-point sums.
#include "kernels/cuda/gemm/products_bf16.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>

#include "kernels/ops/quantize.h"
#include "kernels/random.h"
#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// A matrix on the host, of numbers that BF16 has unless `wide`.
struct Matrix {
  int64_t rows, cols;
  std::vector<float> v;
  float at(int64_t r, int64_t c) const { return v[static_cast<size_t>(r * cols + c)]; }
};

Matrix matrix(int64_t rows, int64_t cols, uint64_t seed, bool wide = false) {
  Matrix m{rows, cols, std::vector<float>(static_cast<size_t>(rows * cols))};
  for (size_t i = 0; i < m.v.size(); ++i) {
    const float x =
        static_cast<float>(static_cast<int64_t>(random_below({seed, Purpose::test, 0, i}, 20001)) -
                           10000) *
        1e-4f;
    m.v[i] = wide ? x : bf16_to_f32(f32_to_bf16(x));
  }
  return m;
}

class ProductsBf16 : public GpuTest {
 protected:
  ThreadPool pool_{2};
  std::unique_ptr<Queue> queue_;
  Scratch scratch_;

  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    queue_ = std::make_unique<Queue>(pool_, Device::cuda, Arithmetic::sm_90a);
    scratch_ = Scratch(Device::cuda);
  }

  Tensor on_gpu(const Matrix& m) {
    const Buffer host = allocate_f32({m.rows, m.cols});
    std::copy(m.v.begin(), m.v.end(), values<float>(host.view));
    const Tensor t = scratch_.f32({m.rows, m.cols});
    copy_now(host, t);
    return t;
  }
  Matrix from_gpu(const Tensor& t) {
    queue_->wait();
    const Buffer host = on_host(t);
    Matrix m{t.rows(), t.cols(), std::vector<float>(static_cast<size_t>(t.count()))};
    for (size_t i = 0; i < m.v.size(); ++i) {
      m.v[i] = t.dtype == DType::bf16 ? bf16_to_f32(values<uint16_t>(host.view)[i])
                                      : values<float>(host.view)[i];
    }
    return m;
  }

  struct Case {
    std::vector<int64_t> offsets;
    int64_t N, K;
    bool transpose_b;
    DType result = DType::f32;
  };
  Matrix multiply(const Case& c, const Matrix& a, const std::vector<Matrix>& b) {
    std::vector<ConstTensor> weights;
    for (const Matrix& w : b) weights.push_back(on_gpu(w));
    const Tensor out = scratch_.of(c.result, {a.rows, c.N});
    cuda::multiply_bf16(*queue_, scratch_,
                        {.a = cuda::bf16_operand(*queue_, scratch_, on_gpu(a)),
                         .b = cuda::bf16_operands(*queue_, scratch_, weights, c.offsets),
                         .transpose_b = c.transpose_b,
                         .offsets = c.offsets,
                         .rounds = false,
                         .c = out});
    return from_gpu(out);
  }

  struct Sums {
    std::vector<std::vector<int64_t>> of_group;
    uint32_t faults;
    bool operator==(const Sums&) const = default;
  };
  Sums weights(const std::vector<int64_t>& offsets, const Matrix& a, const Matrix& b,
               bool is_watched, bool is_shared = false, bool is_first = false, int scale_bits = 40) {
    FixedPointLocks locks(1);
    const Tensor faults = scratch_.shared(DType::i32, {1});
    *values<int32_t>(faults) = 0;
    std::vector<GradientSum> into;
    for (size_t g = 0; g + 1 < offsets.size(); ++g) {
      GradientSum sum;
      sum.sum = scratch_.of(DType::i64, {a.cols, b.cols});
      is_first ? copy_now(on_gpu(matrix(2 * a.cols, b.cols, 9)), sum.sum) : zero_now(sum.sum);
      sum.scale_bits = scale_bits;
      sum.units = 4;
      sum.faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
      if (is_shared) sum.locks = &locks;
      if (is_watched) sum.watch = [](const ConstTensor&) {};
      into.push_back(sum);
    }
    for (int unit = 0; unit < 2; ++unit) {
      for (GradientSum& sum : into) sum.is_first = is_first && unit == 0;
      cuda::add_weights_bf16(*queue_, scratch_,
                             {.a = cuda::bf16_operand(*queue_, scratch_, on_gpu(a)),
                              .b = cuda::bf16_operand(*queue_, scratch_, on_gpu(b)),
                              .offsets = offsets,
                              .into = into});
    }
    queue_->wait();
    Sums out{{}, static_cast<uint32_t>(*values<int32_t>(faults))};
    for (const GradientSum& sum : into) {
      const Buffer host = on_host(sum.sum);
      const int64_t* v = values<int64_t>(host.view);
      out.of_group.emplace_back(v, v + sum.sum.count());
    }
    return out;
  }
};

/// Of the numbers that BF16 has: what is left is the rounding of sums in FP32.
void expect_near(float found, double wanted, double size, const std::string& where) {
  ASSERT_NEAR(found, wanted, size * 1e-5 + 1e-30) << where;
}

TEST_F(ProductsBf16, AreTheReferencesForEveryShape) {
  for (const Case& c : std::vector<Case>{{{0, 1}, 1, 1, true},
                                         {{0, 5}, 7, 13, true},
                                         {{0, 5}, 7, 13, false},
                                         {{0, 0, 3, 3, 140}, 23, 65, true},
                                         {{0, 0, 3, 3, 140}, 23, 65, false},
                                         {{0, 200, 431}, 264, 128, false},
                                         {{0, 200, 431}, 264, 136, true}}) {
    const Matrix a = matrix(c.offsets.back(), c.K, 1);
    std::vector<Matrix> b;
    for (size_t g = 0; g + 1 < c.offsets.size(); ++g) {
      b.push_back(c.transpose_b ? matrix(c.N, c.K, 2 + g) : matrix(c.K, c.N, 2 + g));
    }

    const Matrix found = multiply(c, a, b);

    for (size_t g = 0; g < b.size(); ++g) {
      for (int64_t r = c.offsets[g]; r < c.offsets[g + 1]; ++r) {
        for (int64_t n = 0; n < c.N; ++n) {
          double wanted = 0, size = 0;
          for (int64_t k = 0; k < c.K; ++k) {
            const double term =
                double{a.at(r, k)} * (c.transpose_b ? b[g].at(n, k) : b[g].at(k, n));
            wanted += term;
            size += std::fabs(term);
          }
          expect_near(found.at(r, n), wanted, size,
                      std::to_string(r) + ", " + std::to_string(n) + " of N " +
                          std::to_string(c.N) + ", K " + std::to_string(c.K));
        }
      }
    }
  }
}

// Law 1.
TEST_F(ProductsBf16, GiveARowItsBitsWhateverTheRowsAndGroups) {
  for (const bool transpose_b : {true, false}) {
    const Matrix a = matrix(700, 192, 1, true);
    const Matrix w = transpose_b ? matrix(88, 192, 2, true) : matrix(192, 88, 2, true);
    const Matrix all = multiply({{0, 700}, 88, 192, transpose_b}, a, {w});

    for (const std::vector<int64_t>& offsets :
         {std::vector<int64_t>{0, 1}, {0, 3}, {0, 129}, {0, 1, 2, 500}, {0, 400, 400, 700}}) {
      Matrix some{offsets.back(), a.cols, a.v};
      some.v.resize(static_cast<size_t>(some.rows * some.cols));
      const Matrix found = multiply({offsets, 88, 192, transpose_b}, some,
                                    std::vector<Matrix>(offsets.size() - 1, w));
      ASSERT_TRUE(std::equal(found.v.begin(), found.v.end(), all.v.begin()))
          << offsets.back() << " rows in " << offsets.size() - 1 << " groups";
    }
  }
}

TEST_F(ProductsBf16, RoundResultsOnce) {
  const Case c{{0, 40}, 24, 64, true, DType::bf16};
  const Matrix a = matrix(40, 64, 1), w = matrix(24, 64, 2);
  Matrix wanted = multiply({c.offsets, c.N, c.K, true}, a, {w});
  for (float& x : wanted.v) x = bf16_to_f32(f32_to_bf16(x));

  EXPECT_EQ(multiply(c, a, {w}).v, wanted.v);
}

TEST_F(ProductsBf16, AddTheUnitThatTheReferenceHas) {
  const std::vector<int64_t> offsets{0, 65, 65, 131};
  const Matrix a = matrix(131, 20, 1), b = matrix(131, 34, 2);

  const Sums sums = weights(offsets, a, b, false);

  EXPECT_EQ(sums.faults, 0u);
  for (size_t g = 0; g < 3; ++g) {
    for (int64_t m = 0; m < 20; ++m) {
      for (int64_t n = 0; n < 34; ++n) {
        double wanted = 0, size = 0;
        for (int64_t r = offsets[g]; r < offsets[g + 1]; ++r) {
          wanted += 2 * double{a.at(r, m)} * b.at(r, n);  // two units
          size += 2 * std::fabs(double{a.at(r, m)} * b.at(r, n));
        }
        expect_near(
            static_cast<float>(
                static_cast<double>(sums.of_group[g][static_cast<size_t>(m * 34 + n)]) * 0x1p-40),
            wanted, size, std::to_string(g));
      }
    }
  }
}

// From the accumulators or by way of f32, alone or beside others.
TEST_F(ProductsBf16, AddTheSameBitsByEveryWay) {
  for (const int64_t N : {34, 35}) {
    const std::vector<int64_t> offsets{0, 3, 131, 300};
    const Matrix a = matrix(300, 19, 1, true), b = matrix(300, N, 2, true);
    const Sums wanted = weights(offsets, a, b, true);

    EXPECT_EQ(weights(offsets, a, b, false), wanted) << N;
    EXPECT_EQ(weights(offsets, a, b, false, true), wanted) << N;
  }
}

// Ties, and where the way of small numbers ends (SmallNumbers).
TEST_F(ProductsBf16, RoundNumbersOfEverySizeToTheNearestEvenInteger) {
  std::vector<float> large, small;  // two parts of numbers in units of 2^-s
  for (const float size : {0.0f, 1.0f, 2.0f, 3.0f, 0x1p20f, 0x1p21f, 0x1p22f, 0x1p23f}) {
    for (const float rest : {0.0f, 0.5f, -0.5f, 0.25f, -0.75f, 1.5f, 2.5f}) {
      if (double{size + rest} != double{size} + double{rest}) continue;
      large.push_back(size);
      small.push_back(rest);
    }
  }
  for (const float size : {0x1p40f, 0x1p43f, 0x1p44f, 0x1p45f}) {
    for (const float rest : {0.0f, -size * 0x1p-9f, size * 0x1p-9f}) {
      large.push_back(size);
      small.push_back(rest);
    }
  }
  const auto N = static_cast<int64_t>(large.size());
  for (const int scale_bits : {0, 21, 22, 40, 50, 62}) {
    const float unit = std::ldexp(1.0f, -scale_bits);
    Matrix b{2, N, {}};
    for (const float x : large) b.v.push_back(x * unit);
    for (const float x : small) b.v.push_back(x * unit);
    const Matrix a{2, 2, {1.0f, -1.0f, 1.0f, -1.0f}};

    const Sums sums = weights({0, 2}, a, b, false, false, false, scale_bits);

    for (size_t n = 0; n < large.size(); ++n) {
      const int64_t wanted = 2 * std::llrint(double{large[n]} + double{small[n]});  // two units
      EXPECT_EQ(sums.of_group[0][n], wanted) << large[n] << " + " << small[n] << ", s " << scale_bits;
      EXPECT_EQ(sums.of_group[0][n + large.size()], -wanted) << large[n] << ", s " << scale_bits;
    }
    EXPECT_EQ(sums.faults, 0u) << scale_bits;
    EXPECT_EQ(weights({0, 2}, a, b, true, false, false, scale_bits), sums) << scale_bits;
  }
}

// Also where a group has no rows.
TEST_F(ProductsBf16, StoreAFirstUnitOverWhatStandsThere) {
  for (const int64_t N : {34, 35}) {
    const std::vector<int64_t> offsets{0, 3, 3, 131};
    const Matrix a = matrix(131, 19, 1, true), b = matrix(131, N, 2, true);
    const Sums wanted = weights(offsets, a, b, false);

    EXPECT_EQ(weights(offsets, a, b, false, false, true), wanted) << N;
    EXPECT_EQ(weights(offsets, a, b, true, false, true), wanted) << N;
  }
}

// A group's last block of K reaches into the next group's rows.
TEST_F(ProductsBf16, KeepWhatIsNoNumberInItsGroup) {
  const std::vector<int64_t> offsets{0, 70, 90};
  Matrix a = matrix(90, 16, 1), b = matrix(90, 24, 2);
  const Sums sound = weights(offsets, a, b, false);
  std::fill(a.v.begin() + 70 * 16, a.v.end(), nan);
  std::fill(b.v.begin() + 70 * 24, b.v.end(), nan);

  const Sums sums = weights(offsets, a, b, false);

  EXPECT_EQ(sums.of_group[0], sound.of_group[0]);
  EXPECT_EQ(sums.of_group[1], std::vector<int64_t>(16 * 24, 0));
  EXPECT_EQ(sums.faults, uint32_t{unit_not_finite});
}

TEST_F(ProductsBf16, ReportUnitsOutOfRange) {
  Matrix a = matrix(4, 8, 1), b = matrix(4, 8, 2);
  for (float& x : a.v) x = 0x1p12f;
  for (float& x : b.v) x = 0x1p12f;  // 2^26 times 2^40 is beyond 2^62 / 4

  EXPECT_EQ(weights({0, 4}, a, b, false).faults, uint32_t{unit_out_of_range});
}

TEST_F(ProductsBf16, NameAMatrixOfAnotherShape) {
  const ConstTensor a = cuda::bf16_operand(*queue_, scratch_, on_gpu(matrix(4, 8, 1)));
  const ConstTensor b = cuda::bf16_operand(*queue_, scratch_, on_gpu(matrix(8, 16, 2)));
  try {
    cuda::multiply_bf16(*queue_, scratch_,
                        {.a = a,
                         .b = {b},
                         .transpose_b = true,
                         .offsets = {0, 4},
                         .rounds = false,
                         .c = scratch_.f32({4, 8})});
    FAIL() << "no error";
  } catch (const KernelError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("multiply_bf16 b is [8, 16] bf16, wanted [8, 8]"));
  }
}

}  // namespace
}  // namespace troupe::tests
