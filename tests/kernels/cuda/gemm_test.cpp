#include "kernels/ops/gemm.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using GemmCudaTest = GpuTest;

struct Shape {
  int64_t M, N, K;
};

std::string text(const Shape& s) {
  return std::to_string(s.M) + " x " + std::to_string(s.N) + " x " + std::to_string(s.K);
}

// Of every tile's size, with and without something left over; nothing at all; sums from small
// numbers that may end as -0.
TEST_F(GemmCudaTest, GivesTheCpusBitsForEveryShapeAndLayout) {
  for (const Shape& s : {Shape{1, 1, 1},
                         {3, 5, 7},
                         {32, 32, 16},
                         {33, 31, 17},
                         {64, 64, 64},
                         {1, 700, 300},
                         {257, 129, 100},
                         {5, 4, 0},
                         {0, 3, 4},
                         {3, 0, 4},
                         {1500, 1500, 33},
                         {1024, 900, 130}}) {
    for (const int layout : {0, 1, 2, 3}) {
      const bool turn_a = layout & 1, turn_b = layout & 2;
      const Buffer a = turn_a ? normal({s.K, s.M}, 1) : normal({s.M, s.K}, 1);
      const Buffer b = turn_b ? normal({s.N, s.K}, 2) : normal({s.K, s.N}, 2);
      expect_twins(
          [&](Side& side) {
            const Tensor c = side.out({s.M, s.N});
            for (const bool adds : {false, true}) {
              gemm(side.queue, {.a = side.in(a),
                                .b = side.in(b),
                                .transpose_a = turn_a,
                                .transpose_b = turn_b,
                                .c = c,
                                .add_to_c = adds});
            }
            return side.bytes({c});
          },
          text(s) + " layout " + std::to_string(layout));
    }
  }
}

TEST_F(GemmCudaTest, KeepsSmallNumbersAndSignsOfZero) {
  const Buffer a = normal({40, 20}, 3, 1e-23f), b = normal({20, 50}, 4, 1e-23f);

  expect_twins([&](Side& side) {
    const Tensor c = side.out({40, 50});
    gemm(side.queue, {.a = side.in(a),
                      .b = side.in(b),
                      .transpose_a = false,
                      .transpose_b = false,
                      .c = c,
                      .add_to_c = false});
    return side.bytes({c});
  });
}

// Law 1.
TEST_F(GemmCudaTest, ARowIsTheSameAmongAnyNumberOfOthers) {
  ThreadPool pool(2);
  Side side(pool, Device::cuda);
  constexpr int64_t M = 3000, N = 768, K = 260;
  const Tensor a = side.in(normal({M, K}, 5)), b = side.in(normal({N, K}, 6));
  const auto product = [&](int64_t first, int64_t rows) {
    const Tensor c = side.out({rows, N});
    gemm(side.queue, {.a = row_range(a, first, rows),
                      .b = b,
                      .transpose_a = false,
                      .transpose_b = true,
                      .c = c,
                      .add_to_c = false});
    return side.bytes({c});
  };
  const auto all = product(0, M);

  for (const int64_t rows : {1, 2, 31, 32, 33, 64, 127, 128, 129, 500, 1000, 2999}) {
    const int64_t first = (M - rows) / 2;
    const auto part = product(first, rows);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + first * N * 4)) << rows;
  }
}

TEST_F(GemmCudaTest, GroupsGiveTheCpusBitsAlsoEmptyOnesAndOneThatHasAll) {
  constexpr int64_t K = 70, N = 45;
  for (const std::vector<int64_t>& offsets :
       {std::vector<int64_t>{0, 3, 3, 130, 131}, {0, 0, 0, 2000, 2000}, {0, 0, 0, 0, 0}}) {
    const int64_t R = offsets.back();
    const Buffer x = normal({R, K}, 7), dy = normal({R, N}, 8);
    expect_twins([&](Side& side) {
      std::vector<ConstTensor> weights;
      std::vector<Tensor> units;
      for (uint32_t g = 0; g < 4; ++g) {
        weights.push_back(side.in(normal({N, K}, 10 + g)));
        units.push_back(side.out({N, K}));
      }
      const Tensor y = side.out({R, N}), dx = side.out({R, K});
      const Tensor on_x = side.in(x), on_dy = side.in(dy);
      grouped_gemm(side.queue,
                   {.a = on_x, .b = weights, .transpose_b = true, .offsets = offsets, .c = y});
      grouped_gemm(side.queue,
                   {.a = on_dy, .b = weights, .transpose_b = false, .offsets = offsets, .c = dx});
      grouped_gemm_weights(side.queue, {.a = on_dy, .b = on_x, .offsets = offsets, .c = units});
      return side.bytes({y, dx, units[0], units[1], units[2], units[3]});
    });
  }
}

}  // namespace
}  // namespace troupe::tests
