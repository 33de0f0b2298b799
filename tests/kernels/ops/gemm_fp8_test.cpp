#include "kernels/ops/gemm_fp8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/rounding.h"
#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

int64_t blocks(int64_t n) { return (n + 127) / 128; }

/// A matrix in codes and its scales.
struct Coded {
  Buffer codes, scales;
};

struct Tiling {
  int64_t rows, cols;
  std::vector<int64_t> offsets = {};
};

Coded coded(const ConstTensor& x, const Tiling& tiling) {
  ThreadPool pool(1);
  Queue queue(pool);
  const int64_t T = x.rows(), K = x.cols();
  const std::vector<int64_t> range{0, T};
  const int64_t down =
      tiles_of_groups(tiling.offsets.empty() ? range : tiling.offsets, tiling.rows);
  Coded out{allocate_f32({T, K}), allocate_f32({down, (K + tiling.cols - 1) / tiling.cols})};
  quantize_tiles(queue, {.x = x,
                         .format = TileFormat::e4m3,
                         .tile_rows = tiling.rows,
                         .tile_cols = tiling.cols,
                         .power_of_two = false,
                         .codes = out.codes,
                         .scales = out.scales,
                         .offsets = tiling.offsets});
  queue.wait();
  return out;
}

struct Case {
  int64_t M, N, K;
  bool transpose_b;
  int64_t a_tile_rows = 1;
};

std::string name(const Case& x) {
  return "M " + std::to_string(x.M) + " N " + std::to_string(x.N) + " K " + std::to_string(x.K) +
         (x.transpose_b ? " transpose_b" : "") + (x.a_tile_rows == 1 ? "" : " a in blocks");
}

struct Operands {
  explicit Operands(const Case& x, uint32_t seed = 11)
      : a(coded(normal({x.M, x.K}, seed), {x.a_tile_rows, 128})),
        b(coded(x.transpose_b ? normal({x.N, x.K}, seed + 1) : normal({x.K, x.N}, seed + 1),
                {128, 128})) {}
  Coded a, b;
};

std::vector<float> product(Queue& queue, const Case& x, const Operands& in,
                           Accumulator accumulator = Accumulator::f32, int64_t every = 128) {
  const Buffer wide = normal({x.M, x.N + 5}, 99);  // what was there must not matter
  const Tensor c = columns(Tensor(wide), 2, x.N);
  gemm_fp8(queue, {.a = in.a.codes,
                   .a_scales = in.a.scales,
                   .b = in.b.codes,
                   .b_scales = in.b.scales,
                   .transpose_b = x.transpose_b,
                   .c = c,
                   .a_tile_rows = x.a_tile_rows,
                   .accumulator = accumulator,
                   .promote_every = every});
  queue.wait();
  return to_vector(c);
}

float at(const Buffer& t, int64_t row, int64_t col) {
  return values<float>(t.view)[row * t.view.row_stride + col];
}

/// The contract written down: a chain from +0 for every 128 of k, then its promotion.
std::vector<float> promoted_chains(const Case& x, const Operands& in) {
  std::vector<float> c;
  for (int64_t m = 0; m < x.M; ++m) {
    for (int64_t n = 0; n < x.N; ++n) {
      float total = 0.0f;
      for (int64_t block = 0; block < blocks(x.K); ++block) {
        float partial = 0.0f;
        for (int64_t k = 128 * block; k < std::min(x.K, 128 * block + 128); ++k) {
          const float b = x.transpose_b ? at(in.b.codes, n, k) : at(in.b.codes, k, n);
          partial = std::fma(at(in.a.codes, m, k), b, partial);
        }
        const float b_scale =
            x.transpose_b ? at(in.b.scales, n / 128, block) : at(in.b.scales, block, n / 128);
        total = std::fma(partial, at(in.a.scales, m / x.a_tile_rows, block) * b_scale, total);
      }
      c.push_back(total);
    }
  }
  return c;
}

std::vector<Case> cases() {
  std::vector<Case> out;
  const int64_t shapes[][3] = {{1, 1, 1},      {1, 150, 300}, {3, 33, 128},  {8, 47, 129},
                               {9, 130, 127},  {13, 65, 257}, {1027, 33, 17}, {50, 300, 400},
                               {300, 40, 140}, {0, 5, 4},     {6, 0, 4},     {6, 5, 0}};
  for (const auto& s : shapes) {
    for (const bool transpose_b : {false, true}) out.push_back({s[0], s[1], s[2], transpose_b});
  }
  out.push_back({300, 40, 140, false, 128});
  out.push_back({5, 40, 140, true, 128});
  return out;
}

// Law 1: every instruction set and thread count computes what the contract writes down.
TEST(GemmFp8, PromotesAChainEvery128OfKInEveryShapeEverywhere) {
  for (const Case& x : cases()) {
    const Operands in(x);
    const auto wanted = promoted_chains(x, in);

    const auto found =
        expect_same_bits_everywhere([&](Queue& queue) { return product(queue, x, in); });

    EXPECT_TRUE(same_bits(found, wanted)) << name(x);
  }
}

// Law 1: decode (a row at a time) and prefill (all rows) are one function.
TEST(GemmFp8, ARowHasTheSameBitsAloneAndAmongOthers) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const bool transpose_b : {false, true}) {
    const Case x{67, 150, 300, transpose_b};
    Operands in(x);
    const auto all = product(queue, x, in);
    for (const int64_t rows : {1, 2, 5, 8, 17}) {
      Operands some = in;
      some.a.codes.view = row_range(Tensor(in.a.codes), 40, rows);
      some.a.scales.view = row_range(Tensor(in.a.scales), 40, rows);

      const auto found = product(queue, {rows, x.N, x.K, transpose_b}, some);

      EXPECT_TRUE(same_bits(found, {all.begin() + 40 * x.N, all.begin() + (40 + rows) * x.N}))
          << rows;
    }
  }
}

TEST(GemmFp8, ANanTileReachesItsRowsAndColumnsAlone) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Case x{20, 37, 300, true};
  const Buffer a = normal({x.M, x.K}, 1);
  Operands in(x);
  in.a = coded(a, {1, 128});
  const auto clean = product(queue, x, in);
  values<float>(a.view)[7 * x.K + 200] = std::numeric_limits<float>::infinity();
  in.a = coded(a, {1, 128});

  for (const Accumulator accumulator : {Accumulator::f32, Accumulator::narrow}) {
    const auto c = product(queue, x, in, accumulator);
    for (int64_t i = 0; i < x.M * x.N; ++i) {
      EXPECT_EQ(std::isnan(c[static_cast<size_t>(i)]), i / x.N == 7) << i;
    }
    if (accumulator == Accumulator::f32) {
      EXPECT_EQ(c[0], clean[0]);
    }
  }
}

const std::vector<int64_t> offsets{0, 0, 40, 41, 41, 300, 317, 321, 321};
constexpr int64_t R = 321;
constexpr size_t groups = 8;

template <class T, class F>
std::vector<T> each_group(F f) {
  std::vector<T> out;
  for (size_t g = 0; g < groups; ++g) out.push_back(f(g));
  return out;
}

// Law 1: a group's result is that of its product alone.
TEST(GroupedGemmFp8, IsTheProductOfEachGroupAlone) {
  const int64_t K = 175, N = 190;
  const Buffer x = normal({R, K}, 1);
  for (const int64_t tile_rows : {1, 128}) {
    for (const bool transpose_b : {false, true}) {
      const Coded a = coded(x, {tile_rows, 128, offsets});
      const auto b = each_group<Coded>([&](size_t g) {
        const auto seed = static_cast<uint32_t>(20 + g);
        return coded(transpose_b ? normal({N, K}, seed) : normal({K, N}, seed), {128, 128});
      });
      std::vector<float> wanted;
      ThreadPool pool(1);
      Queue single(pool);
      for (size_t g = 0; g < groups; ++g) {
        const int64_t rows = offsets[g + 1] - offsets[g];
        Operands in({1, 1, 1, true});
        in.a = coded(row_range(ConstTensor(x), offsets[g], rows), {tile_rows, 128});
        in.b = b[g];
        const auto c = product(single, {rows, N, K, transpose_b, tile_rows}, in);
        wanted.insert(wanted.end(), c.begin(), c.end());
      }

      const auto found = expect_same_bits_everywhere([&](Queue& queue) {
        const Buffer c = normal({R, N}, 99);
        grouped_gemm_fp8(
            queue, {.a = a.codes,
                    .a_scales = a.scales,
                    .b = each_group<ConstTensor>([&](size_t g) { return b[g].codes; }),
                    .b_scales = each_group<ConstTensor>([&](size_t g) { return b[g].scales; }),
                    .transpose_b = transpose_b,
                    .offsets = offsets,
                    .c = c,
                    .a_tile_rows = tile_rows});
        queue.wait();
        return to_vector(c);
      });

      EXPECT_TRUE(same_bits(found, wanted)) << tile_rows << transpose_b;
    }
  }
}

// Laws 1 and 2: blocks of k are 128 of the group's rows, in order.
TEST(GroupedGemmWeightsFp8, PromotesEvery128RowsOfAGroup) {
  const int64_t M = 61, N = 170;
  const Coded dy = coded(normal({R, M}, 1), {128, 1, offsets});
  const Coded x = coded(normal({R, N}, 2), {128, 1, offsets});
  std::vector<float> wanted;
  int64_t first_tile = 0;
  for (size_t g = 0; g < groups; ++g) {
    const int64_t tiles = blocks(offsets[g + 1] - offsets[g]);
    for (int64_t m = 0; m < M; ++m) {
      for (int64_t n = 0; n < N; ++n) {
        float total = 0.0f;
        for (int64_t tile = 0; tile < tiles; ++tile) {
          float partial = 0.0f;
          const int64_t first = offsets[g] + 128 * tile;
          for (int64_t r = first; r < std::min(offsets[g + 1], first + 128); ++r) {
            partial = std::fma(at(dy.codes, r, m), at(x.codes, r, n), partial);
          }
          const int64_t row = first_tile + tile;
          total = std::fma(partial, at(dy.scales, row, m) * at(x.scales, row, n), total);
        }
        wanted.push_back(total);
      }
    }
    first_tile += tiles;
  }

  const auto found = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer c = normal({static_cast<int64_t>(groups) * M, N}, 99);
    grouped_gemm_weights_fp8(queue, {.a = dy.codes,
                                     .a_scales = dy.scales,
                                     .b = x.codes,
                                     .b_scales = x.scales,
                                     .offsets = offsets,
                                     .c = each_group<Tensor>([&](size_t g) {
                                       return row_range(Tensor(c), static_cast<int64_t>(g) * M, M);
                                     })});
    queue.wait();
    return to_vector(c);
  });

  EXPECT_TRUE(same_bits(found, wanted));
}

std::string error_of(const GemmFp8Args& args) {
  ThreadPool pool(1);
  Queue queue(pool);
  return kernel_error([&] { gemm_fp8(queue, args); });
}

TEST(GemmFp8, RefusesShapesAndNumbersThatDoNotFit) {
  const Operands in({20, 150, 300, true});
  const Buffer c = allocate_f32({20, 150}), wrong = allocate_f32({3, 2});
  const GemmFp8Args good{.a = in.a.codes,
                         .a_scales = in.a.scales,
                         .b = in.b.codes,
                         .b_scales = in.b.scales,
                         .transpose_b = true,
                         .c = c};
  GemmFp8Args args = good;
  args.a_scales = wrong;
  EXPECT_THAT(error_of(args), HasSubstr("gemm_fp8 a scales is [3, 2] f32, wanted [20, 3] f32"));
  args = good;
  args.b_scales = wrong;
  EXPECT_THAT(error_of(args),
              HasSubstr("gemm_fp8 b (transposed) scales is [3, 2] f32, wanted [2, 3] f32"));
  args = good;
  args.transpose_b = false;
  EXPECT_THAT(error_of(args), HasSubstr("gemm_fp8 c is [20, 150] f32, wanted [20, 300] f32"));
  args = good;
  args.a_tile_rows = 64;
  EXPECT_THAT(error_of(args), HasSubstr("a_tile_rows is 64, wanted 1 or 128"));
  args = good;
  args.promote_every = 64;
  EXPECT_THAT(error_of(args), HasSubstr("promote_every is 64, wanted 128 with the f32"));
  args.accumulator = Accumulator::narrow;
  args.promote_every = 48;
  EXPECT_THAT(error_of(args), HasSubstr("promote_every is 48, wanted a multiple of 32"));
}

TEST(GroupedGemmFp8, RefusesScalesThatAreMissing) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Operands in({20, 150, 300, true});
  const Buffer c = allocate_f32({20, 150});
  GroupedGemmFp8Args args{.a = in.a.codes,
                          .a_scales = in.a.scales,
                          .b = {in.b.codes},
                          .b_scales = {},
                          .transpose_b = true,
                          .offsets = {0, 20},
                          .c = c};
  EXPECT_THAT(kernel_error([&] { grouped_gemm_fp8(queue, args); }),
              HasSubstr("scales of 0 matrices b, wanted 1"));
  args.b_scales = {in.b.scales};
  args.offsets = {0, 19};
  EXPECT_THAT(kernel_error([&] { grouped_gemm_fp8(queue, args); }), HasSubstr("end at 19"));
}

}  // namespace
}  // namespace troupe::tests
