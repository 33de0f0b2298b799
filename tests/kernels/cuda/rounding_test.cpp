#include "kernels/ops/rounding.h"

#include "kernels/ops/logfmt.h"
#include "kernels/ops/mxfp8.h"
#include "kernels/ops/pack.h"
#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using RoundingCudaTest = GpuTest;

/// Numbers of every size, with zeros, infinities and NaN among them.
Buffer wild(std::initializer_list<int64_t> shape, uint32_t stream) {
  Buffer x = normal(shape, stream);
  float* out = values<float>(x.view);
  for (int64_t i = 0; i < x.view.count(); ++i) {
    out[i] = std::ldexp(out[i], static_cast<int>((i * 37 + stream) % 90) - 60);
    if (i % 97 == 5) out[i] = i % 2 ? 0.0f : -0.0f;
    if (i % 1009 == 500) out[i] = std::numeric_limits<float>::infinity();
    if (i % 1511 == 700) out[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return x;
}

TEST_F(RoundingCudaTest, Bf16AndRowsOnTheWireGiveTheCpusBits) {
  for (const auto& [T, D] : {std::array<int64_t, 2>{1, 1}, {7, 33}, {300, 257}}) {
    const Buffer x = wild({T, D}, 1);
    expect_twins([&](Side& side) {
      const Tensor on = side.in(x), y = side.out({T, D}), back = side.out({T, D});
      const Tensor half = side.out(DType::bf16, {T, D}), code = side.out(DType::f8_e4m3, {T, D});
      const Tensor of_code = side.out({T, D});
      const Tensor scales = side.in(normal({T, tiles_over(D, 128)}, 2));
      round_bf16(side.queue, {.x = on, .y = y});
      pack_rows(side.queue, {.x = y, .y = half});
      unpack_rows(side.queue, {.x = half, .scales = {}, .y = back});
      pack_rows(side.queue, {.x = on, .y = code});
      unpack_rows(side.queue, {.x = code, .scales = scales, .y = of_code});
      return side.bytes({y, back, of_code});
    });
  }
}

TEST_F(RoundingCudaTest, TilesGiveTheCpusBits) {
  struct Case {
    int64_t T, K, rows, cols;
    std::vector<int64_t> offsets;
  };
  for (const Case& c : {Case{1, 1, 1, 128, {}},
                        {70, 300, 1, 128, {}},
                        {300, 290, 128, 128, {}},
                        {300, 70, 128, 1, {}},
                        {300, 70, 128, 1, {0, 0, 129, 300}},
                        {260, 130, 128, 128, {0, 1, 260}},
                        {64, 64, 1000, 1000, {}}}) {
    for (const TileFormat format : {TileFormat::e4m3, TileFormat::e5m6}) {
      for (const bool powers : {false, true}) {
        const Buffer x = wild({c.T, c.K}, 3);
        const int64_t down =
            c.offsets.empty() ? tiles_over(c.T, c.rows) : tiles_of_groups(c.offsets, c.rows);
        expect_twins([&](Side& side) {
          const Tensor on = side.in(x), codes = side.out({c.T, c.K}), y = side.out({c.T, c.K});
          const Tensor scales = side.out({down, tiles_over(c.K, c.cols)});
          quantize_tiles(side.queue, {.x = on,
                                      .format = format,
                                      .tile_rows = c.rows,
                                      .tile_cols = c.cols,
                                      .power_of_two = powers,
                                      .codes = codes,
                                      .scales = scales,
                                      .offsets = c.offsets});
          round_tiles(side.queue, {.x = on,
                                   .format = format,
                                   .tile_rows = c.rows,
                                   .tile_cols = c.cols,
                                   .power_of_two = powers,
                                   .y = y,
                                   .offsets = c.offsets,
                                   .least_amax = 0x1p-100f});
          return side.bytes({codes, scales, y});
        });
      }
    }
  }
}

TEST_F(RoundingCudaTest, Mxfp8AndLogfmtGiveTheCpusBits) {
  const Buffer x = wild({19, 300}, 4);

  expect_twins([&](Side& side) {
    const Tensor mx = side.out({19, 300}), logs = side.out({19, 300});
    round_mxfp8(side.queue, {.x = side.in(x), .y = mx});
    round_logfmt(side.queue, {.x = side.in(x), .bits = 8, .y = logs});
    return side.bytes({mx, logs});
  });
}

}  // namespace
}  // namespace troupe::tests
