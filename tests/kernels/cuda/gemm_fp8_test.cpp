#include "kernels/ops/gemm_fp8.h"

#include "kernels/ops/rounding.h"
#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using GemmFp8CudaTest = GpuTest;

struct Codes {
  Tensor values, scales;
};

Codes codes_of(Side& side, const Buffer& host, int64_t tile_rows, int64_t tile_cols,
               const std::vector<int64_t>& offsets = {}) {
  const Tensor x = side.in(host);
  const int64_t down =
      offsets.empty() ? tiles_over(x.rows(), tile_rows) : tiles_of_groups(offsets, tile_rows);
  const Codes codes{side.out({x.rows(), x.cols()}),
                    side.out({down, tiles_over(x.cols(), tile_cols)})};
  quantize_tiles(side.queue, {.x = x,
                              .format = TileFormat::e4m3,
                              .tile_rows = tile_rows,
                              .tile_cols = tile_cols,
                              .power_of_two = false,
                              .codes = codes.values,
                              .scales = codes.scales,
                              .offsets = offsets});
  return codes;
}

TEST_F(GemmFp8CudaTest, GivesTheCpusBitsOfEveryShape) {
  for (const auto& [M, N, K] : {std::array<int64_t, 3>{1, 1, 1},
                                {3, 130, 128},
                                {70, 129, 300},
                                {1, 200, 513},
                                {1200, 1500, 257},
                                {4, 4, 0}}) {
    for (const bool turn_b : {false, true}) {
      const Buffer a = normal({M, K}, 1), b = turn_b ? normal({N, K}, 2) : normal({K, N}, 2);
      expect_twins([&](Side& side) {
        const Codes x = codes_of(side, a, 1, 128), y = codes_of(side, b, 128, 128);
        const Tensor c = side.out({M, N});
        gemm_fp8(side.queue, {.a = x.values,
                              .a_scales = x.scales,
                              .b = y.values,
                              .b_scales = y.scales,
                              .transpose_b = turn_b,
                              .c = c});
        return side.bytes({x.values, x.scales, y.values, y.scales, c});
      });
    }
  }
}

TEST_F(GemmFp8CudaTest, GroupsAndTheirWeightGradientsGiveTheCpusBits) {
  const std::vector<int64_t> offsets{0, 0, 5, 300, 300, 429};
  const int64_t R = offsets.back(), K = 260, N = 140;
  const Buffer x = normal({R, K}, 3), dy = normal({R, N}, 4);

  expect_twins([&](Side& side) {
    std::vector<ConstTensor> weights, scales;
    std::vector<Tensor> units;
    for (uint32_t g = 0; g < 5; ++g) {
      const Codes w = codes_of(side, normal({N, K}, 10 + g), 128, 128);
      weights.push_back(w.values);
      scales.push_back(w.scales);
      units.push_back(side.out({N, K}));
    }
    const Codes rows = codes_of(side, x, 1, 128);
    const Tensor y = side.out({R, N});
    grouped_gemm_fp8(side.queue, {.a = rows.values,
                                  .a_scales = rows.scales,
                                  .b = weights,
                                  .b_scales = scales,
                                  .transpose_b = true,
                                  .offsets = offsets,
                                  .c = y});
    const Codes left = codes_of(side, dy, 128, 1, offsets),
                right = codes_of(side, x, 128, 1, offsets);
    grouped_gemm_weights_fp8(side.queue, {.a = left.values,
                                          .a_scales = left.scales,
                                          .b = right.values,
                                          .b_scales = right.scales,
                                          .offsets = offsets,
                                          .c = units});
    return side.bytes(
        {y, left.scales, right.scales, units[0], units[1], units[2], units[3], units[4]});
  });
}

TEST_F(GemmFp8CudaTest, TheNarrowAccumulatorIsRefused) {
  ThreadPool pool(1);
  Side side(pool, Device::cuda);
  const Tensor a = side.out({2, 32}), scale = side.out({2, 1}), b = side.out({32, 2});
  const Tensor b_scale = side.out({1, 1}), c = side.out({2, 2});

  EXPECT_EQ(kernel_error([&] {
              gemm_fp8(side.queue, {.a = a,
                                    .a_scales = scale,
                                    .b = b,
                                    .b_scales = b_scale,
                                    .transpose_b = false,
                                    .c = c,
                                    .accumulator = Accumulator::narrow});
            }),
            "gemm_fp8 with the narrow accumulator is on the GPU, wanted a queue on the CPU");
}

}  // namespace
}  // namespace troupe::tests
