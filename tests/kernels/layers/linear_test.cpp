#include "kernels/layers/linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops/gemm_fp8.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/tiles.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr Precision precisions[] = {Precision::fp32, Precision::bf16, Precision::fp8,
                                    Precision::fp8_unpromoted};
constexpr int64_t T = 140, K = 150, N = 133;  // no dimension is a whole number of tiles

/// The values that an operand's codes stand for, by obvious loops.
Doubles decoded(const Buffer& x, int64_t tile_rows, int64_t tile_cols, bool power_of_two = false,
                std::vector<int64_t> offsets = {}) {
  const reference::TilesArgs args{to_vector(x), x.view.rows(), x.view.cols(), TileFormat::e4m3,
                                  tile_rows, tile_cols, power_of_two, std::move(offsets)};
  const auto tiles = reference::tiles(args);
  Doubles out;
  const int64_t across = (args.K + tile_cols - 1) / tile_cols;
  const std::vector<int64_t> ranges =
      args.offsets.empty() ? std::vector<int64_t>{0, args.T} : args.offsets;
  int64_t down = 0;
  for (size_t g = 0; g + 1 < ranges.size(); ++g) {
    for (int64_t t = ranges[g]; t < ranges[g + 1]; ++t) {
      const int64_t tile_row = down + (t - ranges[g]) / tile_rows;
      for (int64_t k = 0; k < args.K; ++k) {
        const auto scale = static_cast<size_t>(tile_row * across + k / tile_cols);
        out.push_back(double{tiles.codes[static_cast<size_t>(t * args.K + k)]} *
                      double{tiles.scales[scale]});
      }
    }
    down += (ranges[g + 1] - ranges[g] + tile_rows - 1) / tile_rows;
  }
  return out;
}

Doubles in_bf16(const Doubles& x) {
  Doubles out;
  for (const double v : x) out.push_back(bf16_to_f32(f32_to_bf16(static_cast<float>(v))));
  return out;
}

/// a [m, k] times b transposed [n, k].
Doubles product(const Doubles& a, const Doubles& b, int64_t m, int64_t n, int64_t k) {
  Doubles out;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += a[static_cast<size_t>(i * k + l)] * b[static_cast<size_t>(j * k + l)];
      }
      out.push_back(sum);
    }
  }
  return out;
}

Doubles transposed(const Doubles& a, int64_t rows, int64_t cols) {
  Doubles out;
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < rows; ++i) out.push_back(a[static_cast<size_t>(i * cols + j)]);
  }
  return out;
}

bool all_bf16(const Buffer& y) {
  for (const float v : to_vector(y)) {
    if (v != bf16_to_f32(f32_to_bf16(v))) return false;
  }
  return true;
}

struct Data {
  Buffer x = normal({T, K}, 1), w = normal({N, K}, 2, 0.1f), dy = normal({T, N}, 3, 1e-6f);
  Buffer y = allocate_f32({T, N}), dx = allocate_f32({T, K});
};

/// Runs all three calls and waits.
Sum run(Queue& queue, Precision precision, Data& d) {
  Scratch scratch;
  Sum sum(N * K);
  linear_forward(queue, {.precision = precision, .scales = Scales::any, .x = d.x, .weight = d.w,
                         .y = d.y});
  linear_backward_inputs(queue, {.precision = precision, .dy = d.dy, .weight = d.w, .dx = d.dx,
                                 .add_to_dx = false});
  linear_backward_weights(queue, scratch, {.precision = precision, .scales = Scales::any,
                                           .dy = d.dy, .x = d.x, .into = sum.into()});
  queue.wait();
  return sum;
}

// A BF16 number has 8 significant bits: at most 2^-8 of it lies between a result and the exact
// product of the rounded operands.
constexpr double half_a_bf16 = 1.05 / 256;

TEST(Linear, InFp8EachProductIsThatOfTheDecodedTiles) {
  ThreadPool pool(2);
  Queue queue(pool);
  Data d;

  const Sum sum = run(queue, Precision::fp8, d);

  const Doubles x = decoded(d.x, 1, 128), w = decoded(d.w, 128, 128);
  EXPECT_LT(relative_difference(to_doubles(d.y), product(x, w, T, N, K)), half_a_bf16);
  EXPECT_TRUE(all_bf16(d.y) && all_bf16(d.dx));
  // Gradients as small as these keep their own scale: the release's least amax is for activations.
  const Buffer large = allocate_f32({T, N});
  for (int64_t i = 0; i < T * N; ++i) {
    values<float>(large.view)[i] = 0x1p20f * values<float>(d.dy.view)[i];
  }
  Doubles rows = decoded(large, 1, 128), columns = decoded(large, 128, 1);
  for (double& v : rows) v *= 0x1p-20;
  for (double& v : columns) v *= 0x1p-20;
  EXPECT_LT(relative_difference(to_doubles(d.dx), product(rows, transposed(w, N, K), T, K, N)),
            half_a_bf16);
  EXPECT_LT(relative_difference(sum.values(),
                                product(transposed(columns, T, N),
                                        transposed(decoded(d.x, 128, 1), T, K), N, K, T)),
            1e-5);
}

struct Codes {
  Buffer values, scales;
};
Codes codes_of(Queue& queue, const Buffer& x, int64_t tile_rows, int64_t tile_cols,
               float least_amax = least_activation) {
  const int64_t rows = x.view.rows(), cols = x.view.cols();
  Codes out{allocate_f32({rows, cols}),
            allocate_f32({tiles_over(rows, tile_rows), tiles_over(cols, tile_cols)})};
  quantize_tiles(queue, {.x = x, .format = TileFormat::e4m3, .tile_rows = tile_rows,
                         .tile_cols = tile_cols, .power_of_two = false, .codes = out.values,
                         .scales = out.scales, .least_amax = least_amax});
  return out;
}

TEST(Linear, WithoutPromotionEachProductIsOneNarrowSumOfTheSameCodes) {
  ThreadPool pool(2);
  Queue queue(pool);
  Data d, promoted;
  const Buffer y = allocate_f32({T, N}), dx = allocate_f32({T, K}), unit = allocate_f32({N, K});
  const Codes w = codes_of(queue, d.w, 128, 128);
  const auto narrow = [&](const Codes& a, bool transpose_b, const Buffer& c) {
    gemm_fp8(queue, {.a = a.values, .a_scales = a.scales, .b = w.values, .b_scales = w.scales,
                     .transpose_b = transpose_b, .c = c, .accumulator = Accumulator::narrow,
                     .promote_every = 0});
    round_bf16(queue, {.x = c, .y = c});
  };
  narrow(codes_of(queue, d.x, 1, 128), true, y);
  narrow(codes_of(queue, d.dy, 1, 128, least_gradient), false, dx);
  const Codes dy = codes_of(queue, d.dy, 128, 1, least_gradient), x = codes_of(queue, d.x, 128, 1);
  grouped_gemm_weights_fp8(queue, {.a = dy.values, .a_scales = dy.scales, .b = x.values,
                                   .b_scales = x.scales, .offsets = {0, T}, .c = {unit},
                                   .accumulator = Accumulator::narrow, .promote_every = 0});

  const Sum sum = run(queue, Precision::fp8_unpromoted, d);

  EXPECT_EQ(to_vector(d.y), to_vector(y));
  EXPECT_EQ(to_vector(d.dx), to_vector(dx));
  std::vector<int64_t> integers;
  for (const double v : to_doubles(unit)) integers.push_back(std::llrint(std::ldexp(v, Sum::scale_bits)));
  EXPECT_EQ(sum.integers(), integers);
  const Sum other = run(queue, Precision::fp8, promoted);
  EXPECT_NE(to_vector(d.y), to_vector(promoted.y));
  EXPECT_NE(to_vector(d.dx), to_vector(promoted.dx));
  EXPECT_NE(sum.integers(), other.integers());
}

TEST(Linear, InBf16OperandsAndResultsAreRounded) {
  ThreadPool pool(2);
  Queue queue(pool);
  Data d;

  const Sum sum = run(queue, Precision::bf16, d);

  const Doubles x = in_bf16(to_doubles(d.x)), w = in_bf16(to_doubles(d.w)),
                dy = in_bf16(to_doubles(d.dy));
  EXPECT_LT(relative_difference(to_doubles(d.y), product(x, w, T, N, K)), half_a_bf16);
  EXPECT_LT(relative_difference(to_doubles(d.dx), product(dy, transposed(w, N, K), T, K, N)),
            half_a_bf16);
  EXPECT_TRUE(all_bf16(d.y) && all_bf16(d.dx));
  EXPECT_LT(relative_difference(sum.values(), product(transposed(dy, T, N), transposed(x, T, K), N,
                                                      K, T)),
            1e-5);
}

// Laws 1 and 2, in every precision.
TEST(Linear, TheBitsAreTheSameEverywhere) {
  for (const Precision precision : precisions) {
    expect_same_bits_everywhere([&](Queue& queue) {
      Data d;
      const Sum sum = run(queue, precision, d);
      std::vector<double> all = to_doubles(d.y);
      for (const double v : to_doubles(d.dx)) all.push_back(v);
      for (const double v : sum.values()) all.push_back(v);
      return all;
    });
  }
}

// Law 1: a row alone has the bits that it has among others, in a group or not.
TEST(Linear, ARowsResultDoesNotDependOnTheOthers) {
  ThreadPool pool(1);
  Queue queue(pool);
  for (const Precision precision : precisions) {
    Data d;
    run(queue, precision, d);
    const Buffer grouped = allocate_f32({T, N}), alone = allocate_f32({1, N});

    grouped_linear_forward(queue, {.precision = precision, .scales = Scales::any, .x = d.x,
                                   .weights = {d.w, d.w, d.w}, .offsets = {0, 60, 60, T},
                                   .y = grouped});
    linear_forward(queue, {.precision = precision, .scales = Scales::any,
                           .x = row_range(ConstTensor(d.x), 77, 1), .weight = d.w, .y = alone});
    queue.wait();

    const auto whole = to_vector(d.y);
    EXPECT_EQ(to_vector(grouped), whole) << to_string(precision);
    EXPECT_EQ(to_vector(alone), std::vector<float>(whole.begin() + 77 * N, whole.begin() + 78 * N))
        << to_string(precision);
  }
}

TEST(Linear, AddsToWhatIsThereAfterRounding) {
  ThreadPool pool(1);
  Queue queue(pool);
  for (const Precision precision : precisions) {
    Data d;
    run(queue, precision, d);
    std::vector<float> wanted = to_vector(d.dx);
    const Buffer sum = normal({T, K}, 9);
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = values<float>(sum.view)[i] + wanted[i];

    linear_backward_inputs(queue, {.precision = precision, .dy = d.dy, .weight = d.w, .dx = sum,
                                   .add_to_dx = true});
    queue.wait();

    EXPECT_EQ(to_vector(sum), wanted) << to_string(precision);
  }
}

TEST(Linear, GroupsWithoutRowsAddNothingAndNoRowsAreNoWork) {
  ThreadPool pool(1);
  Queue queue(pool);
  for (const Precision precision : precisions) {
    Scratch scratch;
    Data d;
    Sum first(N * K), second(N * K);
    grouped_linear_backward_weights(
        queue, scratch, {.precision = precision, .dy_scales = Scales::powers_of_two,
                         .x_scales = Scales::any, .dy = d.dy, .x = d.x, .offsets = {0, T, T},
                         .into = {first.into(), second.into()}});
    linear_forward(queue, {.precision = precision, .scales = Scales::any,
                           .x = row_range(ConstTensor(d.x), 0, 0), .weight = d.w,
                           .y = row_range(d.y.view, 0, 0)});
    queue.wait();

    EXPECT_EQ(second.integers(), std::vector<int64_t>(static_cast<size_t>(N * K), 0));
    EXPECT_NE(first.integers(), second.integers());
  }
}

TEST(Linear, PowersOfTwoGiveOtherBitsThanAnyScales) {
  ThreadPool pool(1);
  Queue queue(pool);
  Data d;
  run(queue, Precision::fp8, d);
  const Buffer y = allocate_f32({T, N});

  linear_forward(queue, {.precision = Precision::fp8, .scales = Scales::powers_of_two, .x = d.x,
                         .weight = d.w, .y = y});
  queue.wait();

  EXPECT_NE(to_vector(y), to_vector(d.y));
  EXPECT_LT(relative_difference(to_doubles(y), product(decoded(d.x, 1, 128, true),
                                                       decoded(d.w, 128, 128), T, N, K)),
            half_a_bf16);
}

}  // namespace
}  // namespace troupe::tests
