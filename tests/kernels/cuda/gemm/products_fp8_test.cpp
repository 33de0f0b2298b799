// The products of FP8 recipes in the arithmetic sm_90a: any shape, groups, units that go into
// fixed-point sums.
#include "kernels/cuda/gemm/products_fp8.h"

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/layers/linear.h"
#include "kernels/ops/rounding.h"
#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/cuda/rows_in_bf16.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr cuda::Fp8Scaling of_activations{false, 1e-4f}, of_gradients{false, 0x1p-100f},
    powers{true, 1e-4f};

/// Normal numbers that BF16 has, as f32 on the host.
Buffer numbers_of(int64_t rows, int64_t cols, uint64_t seed, float size = 1.0f) {
  const Buffer out = allocate_f32({rows, cols});
  Numbers numbers(seed);
  for (int64_t i = 0; i < rows * cols; ++i) {
    values<float>(out.view)[i] = bf16_to_f32(f32_to_bf16(size * numbers.normal()));
  }
  return out;
}

/// How units come to their sums.
struct Way {
  bool is_watched = false, is_shared = false, is_first = false;
  int64_t parts = 1;
};

class ProductsFp8 : public Sm90Test {
 protected:
  std::vector<float> multiply(const Buffer& a, DType type, const std::vector<Buffer>& b,
                              bool transpose_b, const std::vector<int64_t>& offsets, DType result,
                              cuda::Fp8Scaling scaling = of_activations) {
    std::vector<ConstTensor> matrices;
    for (const Buffer& one : b) matrices.push_back(on_gpu(one, type));
    const int64_t N = transpose_b ? b[0].view.rows() : b[0].view.cols();
    const Tensor c = scratch.of(result, {offsets.back(), N});
    cuda::multiply_fp8(*queue, scratch,
                       {.a = row_range(ConstTensor(on_gpu(a, type)), 0, offsets.back()),
                        .a_scaling = scaling,
                        .b = {matrices, of_activations, transpose_b},
                        .offsets = offsets,
                        .c = c});
    return numbers(c);
  }

  struct Sums {
    std::vector<std::vector<int64_t>> of_group;
    uint32_t faults;
    bool operator==(const Sums&) const = default;
  };
  Sums weights(const std::vector<int64_t>& offsets, const Buffer& a, const Buffer& b, Way way = {}) {
    FixedPointLocks locks(1);
    const Tensor faults = scratch.shared(DType::i32, {1});
    *values<int32_t>(faults) = 0;
    const int64_t M = a.view.cols() / way.parts, N = b.view.cols();
    std::vector<GradientSum> into;
    for (size_t i = 0; i < (offsets.size() - 1) * static_cast<size_t>(way.parts); ++i) {
      GradientSum sum;
      sum.sum = scratch.of(DType::i64, {M, N});
      way.is_first ? copy_now(on_gpu(numbers_of(2 * M, N, 9), DType::f32), sum.sum)
                   : zero_now(sum.sum);
      sum.scale_bits = 40;
      sum.units = 4;
      sum.faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
      if (way.is_shared) sum.locks = &locks;
      if (way.is_watched) sum.watch = [](const ConstTensor&) {};
      into.push_back(sum);
    }
    for (int unit = 0; unit < 2; ++unit) {
      for (GradientSum& sum : into) sum.is_first = way.is_first && unit == 0;
      cuda::add_weights_fp8(*queue, scratch,
                            {.a = on_gpu(a, DType::bf16),
                             .a_scaling = of_gradients,
                             .b = on_gpu(b, DType::bf16),
                             .b_scaling = powers,
                             .offsets = offsets,
                             .into = into});
    }
    queue->wait();
    Sums out{{}, static_cast<uint32_t>(*values<int32_t>(faults))};
    for (const GradientSum& sum : into) {
      const Buffer host = on_host(sum.sum);
      const int64_t* v = values<int64_t>(host.view);
      out.of_group.emplace_back(v, v + sum.sum.count());
    }
    return out;
  }
};

/// What the CPU's layers give of the same codes: another order of the same sums.
struct OnCpu {
  ThreadPool pool{2};
  Queue queue{pool};
  Scratch scratch;

  std::vector<float> multiply(const Buffer& a, const std::vector<Buffer>& b, bool transpose_b,
                              const std::vector<int64_t>& offsets) {
    const int64_t N = transpose_b ? b[0].view.rows() : b[0].view.cols();
    const Tensor c = scratch.f32({offsets.back(), N});
    std::vector<ConstTensor> weights(b.begin(), b.end());
    if (transpose_b) {
      grouped_linear_forward(queue, {.precision = Precision::fp8, .scales = Scales::any, .x = a,
                                     .weights = weights, .offsets = offsets, .y = c});
    } else {
      grouped_linear_backward_inputs(queue, {.precision = Precision::fp8, .scales = Scales::any,
                                             .dy = a, .weights = weights, .offsets = offsets,
                                             .dx = c});
    }
    queue.wait();
    return {values<float>(c), values<float>(c) + c.count()};
  }
};

/// The tensor cores keep fewer bits of a sum of 128 products than f32 has; results are BF16.
void expect_near(const std::vector<float>& found, const std::vector<float>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  double error = 0, squares = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i])) << i;
    error += std::pow(double{found[i]} - wanted[i], 2);
    squares += std::pow(double{wanted[i]}, 2);
  }
  EXPECT_LT(std::sqrt(error / squares), 3e-3);
}

struct Case {
  std::vector<int64_t> offsets;
  int64_t N, K;
};
const std::vector<Case> cases{{{0, 1}, 1, 1},
                              {{0, 5}, 7, 13},
                              {{0, 40}, 48, 272},
                              {{0, 0, 3, 3, 140}, 23, 65},
                              {{0, 200, 431}, 256, 128},
                              {{0, 200, 200, 431}, 136, 384},
                              {{0, 150}, 64, 4240}};

TEST_F(ProductsFp8, AreTheCpusOfTheSameCodesForEveryShape) {
  OnCpu cpu;
  for (const Case& c : cases) {
    for (const bool transpose_b : {true, false}) {
      for (const DType type : {DType::f32, DType::bf16}) {
        SCOPED_TRACE(std::to_string(c.offsets.back()) + " rows, N " + std::to_string(c.N) +
                     ", K " + std::to_string(c.K) + (transpose_b ? ", b transposed" : ""));
        const Buffer a = numbers_of(c.offsets.back(), c.K, 1);
        std::vector<Buffer> b;
        for (size_t g = 0; g + 1 < c.offsets.size(); ++g) {
          b.push_back(transpose_b ? numbers_of(c.N, c.K, 2 + g) : numbers_of(c.K, c.N, 2 + g));
        }

        const auto found = multiply(a, type, b, transpose_b, c.offsets, type,
                                    transpose_b ? of_activations : of_gradients);

        expect_near(found, cpu.multiply(a, b, transpose_b, c.offsets));
      }
    }
  }
}

// Matrices that lie one behind the other are quantised at once.
TEST_F(ProductsFp8, AreTheSameOfMatricesInOnePlace) {
  const std::vector<int64_t> offsets{0, 60, 60, 200};
  for (const bool transpose_b : {true, false}) {
    const int64_t rows = 256, cols = 144;
    const Buffer a = numbers_of(200, transpose_b ? cols : rows, 1), all = numbers_of(3 * rows, cols, 2);
    std::vector<Buffer> apart;
    for (int64_t g = 0; g < 3; ++g) {
      apart.push_back(allocate_f32({rows, cols}));
      std::copy_n(values<float>(all.view) + g * rows * cols, rows * cols,
                  values<float>(apart.back().view));
    }
    const auto wanted = multiply(a, DType::bf16, apart, transpose_b, offsets, DType::bf16);
    const Tensor together = on_gpu(all, DType::bf16);
    const Tensor c = scratch.of(DType::bf16, {200, transpose_b ? rows : cols});

    cuda::multiply_fp8(*queue, scratch,
                       {.a = on_gpu(a, DType::bf16),
                        .a_scaling = of_activations,
                        .b = {{row_range(together, 0, rows), row_range(together, rows, rows),
                               row_range(together, 2 * rows, rows)},
                              of_activations,
                              transpose_b},
                        .offsets = offsets,
                        .c = c});

    EXPECT_EQ(numbers(c), wanted);
  }
}

// Law 1.
TEST_F(ProductsFp8, GiveARowItsBitsWhateverTheRowsAndGroups) {
  for (const bool transpose_b : {true, false}) {
    const Buffer a = numbers_of(700, 192, 1);
    const Buffer w = transpose_b ? numbers_of(88, 192, 2) : numbers_of(192, 88, 2);
    const auto all = multiply(a, DType::bf16, {w}, transpose_b, {0, 700}, DType::f32);

    for (const std::vector<int64_t>& offsets :
         {std::vector<int64_t>{0, 1}, {0, 3}, {0, 129}, {0, 1, 2, 500}, {0, 400, 400, 700}}) {
      const std::vector<Buffer> same(offsets.size() - 1, w);
      const auto found = multiply(a, DType::bf16, same, transpose_b, offsets, DType::f32);
      ASSERT_TRUE(std::equal(found.begin(), found.end(), all.begin()))
          << offsets.back() << " rows in " << offsets.size() - 1 << " groups";
    }
  }
}

TEST_F(ProductsFp8, GiveF32ThatWereRoundedToBf16) {
  const Buffer a = numbers_of(150, 128, 1), w = numbers_of(64, 128, 2);
  for (const int64_t rows : {20, 150}) {
    EXPECT_EQ(multiply(a, DType::bf16, {w}, true, {0, rows}, DType::f32),
              multiply(a, DType::bf16, {w}, true, {0, rows}, DType::bf16));
  }
}

TEST_F(ProductsFp8, AddTheUnitThatTheCpuHas) {
  const std::vector<int64_t> offsets{0, 65, 65, 400};
  for (const auto& [M, N] : {std::pair<int64_t, int64_t>{20, 34}, {144, 131}, {256, 128}}) {
    const Buffer dy = numbers_of(400, M, 1, 1e-3f), x = numbers_of(400, N, 2);

    const Sums sums = weights(offsets, dy, x);

    EXPECT_EQ(sums.faults, 0u);
    OnCpu cpu;
    std::vector<float> found, wanted;
    std::vector<Buffer> kept;
    std::vector<GradientSum> into;
    std::atomic<uint32_t> faults{0};
    for (int g = 0; g < 3; ++g) {
      kept.push_back(allocate(DType::i64, {M, N}));
      zero_now(kept.back());
      into.push_back({.sum = kept.back(), .scale_bits = 40, .units = 4, .faults = &faults});
    }
    grouped_linear_backward_weights(
        cpu.queue, cpu.scratch,
        {.precision = Precision::fp8, .dy_scales = Scales::any, .x_scales = Scales::powers_of_two,
         .dy = dy, .x = x, .offsets = offsets, .into = into});
    cpu.queue.wait();
    for (size_t g = 0; g < 3; ++g) {
      for (int64_t i = 0; i < M * N; ++i) {
        wanted.push_back(2 * static_cast<float>(values<int64_t>(kept[g].view)[i]));  // two units
        found.push_back(static_cast<float>(sums.of_group[g][static_cast<size_t>(i)]));
      }
    }
    expect_near(found, wanted);
  }
}

// From the accumulators or by way of f32, alone or beside others; a first one over what stands there.
TEST_F(ProductsFp8, AddTheSameBitsByEveryWay) {
  for (const int64_t N : {34, 35, 160}) {
    const std::vector<int64_t> offsets{0, 3, 3, 131, 300};
    const Buffer a = numbers_of(300, 19, 1), b = numbers_of(300, N, 2);
    const Sums wanted = weights(offsets, a, b, {.is_watched = true});

    EXPECT_EQ(weights(offsets, a, b), wanted) << N;
    EXPECT_EQ(weights(offsets, a, b, {.is_shared = true}), wanted) << N;
    EXPECT_EQ(weights(offsets, a, b, {.is_first = true}), wanted) << N;
    EXPECT_EQ(weights(offsets, a, b, {.is_watched = true, .is_first = true}), wanted) << N;
  }
}

// Gate and up: neighbouring columns of one operand, each with sums of its own.
TEST_F(ProductsFp8, AddPartsOfColumnsToSumsOfTheirOwn) {
  const std::vector<int64_t> offsets{0, 70, 70, 300};
  const Buffer both = numbers_of(300, 256, 1), x = numbers_of(300, 144, 2);
  const auto half = [&](int64_t first) {
    const Buffer out = allocate_f32({300, 128});
    for (int64_t r = 0; r < 300; ++r) {
      std::copy_n(values<float>(both.view) + r * 256 + first, 128, values<float>(out.view) + r * 128);
    }
    return out;
  };
  const Sums first = weights(offsets, half(0), x), second = weights(offsets, half(128), x);
  for (const bool is_watched : {false, true}) {
    const Sums found = weights(offsets, both, x, {.is_watched = is_watched, .parts = 2});
    for (size_t g = 0; g < 3; ++g) {
      EXPECT_EQ(found.of_group[2 * g], first.of_group[g]) << g;
      EXPECT_EQ(found.of_group[2 * g + 1], second.of_group[g]) << g;
    }
  }
}

TEST_F(ProductsFp8, KeepWhatIsNoNumberInItsGroup) {
  const std::vector<int64_t> offsets{0, 70, 90};
  const Buffer a = numbers_of(90, 16, 1), b = numbers_of(90, 24, 2);
  const Sums sound = weights(offsets, a, b);
  std::fill_n(values<float>(a.view) + 70 * 16, 20 * 16, NAN);

  const Sums sums = weights(offsets, a, b);

  EXPECT_EQ(sums.of_group[0], sound.of_group[0]);
  EXPECT_EQ(sums.of_group[1], std::vector<int64_t>(16 * 24, 0));
  EXPECT_EQ(sums.faults, uint32_t{unit_not_finite});
}

TEST_F(ProductsFp8, RoundRowsOfBf16AsTheCpuRoundsRows) {
  OnCpu cpu;
  for (const int64_t cols : {13, 128, 272}) {
    for (const TileFormat format : {TileFormat::e4m3, TileFormat::e5m6}) {
      const Buffer x = numbers_of(37, cols, 5), wanted = allocate_f32({37, cols});
      values<float>(x.view)[cols] = INFINITY;  // a row of NaN
      std::fill_n(values<float>(x.view) + 2 * cols, cols, -0.0f);
      round_tiles(cpu.queue, {.x = x, .format = format, .tile_rows = 1, .tile_cols = 128,
                              .power_of_two = true, .y = wanted});
      cpu.queue.wait();
      const Tensor y = on_gpu(x, DType::bf16);

      round_tiles(*queue, {.x = y, .format = format, .tile_rows = 1, .tile_cols = 128,
                           .power_of_two = true, .y = y});

      const auto found = numbers(y), those = to_vector(wanted);
      for (size_t i = 0; i < found.size(); ++i) {
        if (std::isnan(those[i]) && std::isnan(found[i])) continue;
        ASSERT_EQ(std::signbit(found[i]), std::signbit(those[i])) << i;
        ASSERT_EQ(found[i], those[i]) << i << " of " << cols;
      }
    }
  }
}

TEST_F(ProductsFp8, NameAMatrixOfAnotherShape) {
  try {
    cuda::multiply_fp8(*queue, scratch,
                       {.a = on_gpu(numbers_of(4, 8, 1), DType::bf16),
                        .a_scaling = of_activations,
                        .b = {{on_gpu(numbers_of(8, 16, 2), DType::bf16)}, of_activations, true},
                        .offsets = {0, 4},
                        .c = scratch.f32({4, 8})});
    FAIL() << "no error";
  } catch (const KernelError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("multiply_fp8 b is [8, 16] bf16, wanted [8, 8]"));
  }
}

}  // namespace
}  // namespace troupe::tests
