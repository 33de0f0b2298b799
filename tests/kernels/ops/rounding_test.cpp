#include "kernels/ops/rounding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/quantize.h"
#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/tiles.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// Whether a NaN is where one was wanted, and the same bits everywhere else.
void expect_same_numbers(const std::vector<float>& found, const std::vector<float>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(wanted[i]) && std::isnan(found[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(wanted[i]))
        << i << ": " << found[i] << ", wanted " << wanted[i];
  }
}

TEST(RoundBf16, IsTheCodecOfWeightFilesForEveryUpperHalf) {
  std::vector<float> x, wanted;
  for (uint32_t upper = 0; upper < 0x10000; ++upper) {
    for (const uint32_t lower : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      x.push_back(std::bit_cast<float>(upper << 16 | lower));
      wanted.push_back(bf16_to_f32(f32_to_bf16(x.back())));
    }
  }
  const auto count = static_cast<int64_t>(x.size());

  const auto found = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer y = allocate_f32({count / 27, 27});
    round_bf16(queue, {.x = tensor(static_cast<const float*>(x.data()), {count / 27, 27}), .y = y});
    queue.wait();
    return vector_of<float>(y);
  });

  wanted.resize(found.size());
  EXPECT_TRUE(same_bits(found, wanted));
}

struct Case {
  int64_t T, K, tile_rows, tile_cols;
  std::vector<int64_t> offsets;
};

std::vector<Case> cases() {
  return {{5, 300, 1, 128, {}},
          {300, 37, 128, 1, {}},
          {260, 150, 128, 128, {}},
          {13, 29, 3, 5, {}},
          {40, 70, 1000, 1000, {}},
          {7, 5, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max(), {}},
          {1, 1, 1, 1, {}},
          {0, 16, 1, 128, {}},
          {16, 0, 128, 1, {}},
          {300, 37, 128, 1, {0, 0, 130, 131, 131, 300}},
          {300, 150, 128, 128, {0, 128, 129, 300, 300}},
          {9, 150, 1, 128, {0, 4, 9}},
          {0, 16, 128, 1, {0, 0, 0}}};
}

struct Tiles {
  std::vector<float> codes, scales;
};

Tiles quantize(Queue& queue, const Case& x, const ConstTensor& values, TileFormat format,
               bool power_of_two) {
  const auto down = x.offsets.empty() ? tiles_of_groups({0, x.T}, x.tile_rows)
                                      : tiles_of_groups(x.offsets, x.tile_rows);
  const int64_t across = tiles_of_groups({0, x.K}, x.tile_cols);
  const Buffer codes = normal({x.T, x.K + 3}, 90), scales = normal({down, across + 2}, 91);
  const Tensor inner = columns(Tensor(codes), 1, x.K);
  const Tensor inner_scales = columns(Tensor(scales), 1, across);
  quantize_tiles(queue, {.x = values,
                         .format = format,
                         .tile_rows = x.tile_rows,
                         .tile_cols = x.tile_cols,
                         .power_of_two = power_of_two,
                         .codes = inner,
                         .scales = inner_scales,
                         .offsets = x.offsets});
  queue.wait();
  return {to_vector(inner), to_vector(inner_scales)};
}

/// Normal numbers of many magnitudes, whose rows stand apart.
Buffer spread(int64_t rows, int64_t cols) {
  Buffer x = normal({rows, cols}, 3);
  float* p = values<float>(x.view);
  for (int64_t i = 0; i < x.view.count(); ++i)
    p[i] *= std::ldexp(1.0f, static_cast<int>(i % 23) - 19);
  return x;
}

TEST(QuantizeTiles, IsTheNearestCodeOfEachTileEverywhere) {
  for (const Case& x : cases()) {
    const Buffer wide = spread(x.T, x.K + 4);
    const ConstTensor in = columns(ConstTensor(wide), 2, x.K);
    for (const TileFormat format : {TileFormat::e4m3, TileFormat::e5m6}) {
      for (const bool power_of_two : {false, true}) {
        SCOPED_TRACE(std::to_string(x.T) + " x " + std::to_string(x.K) + " in tiles of " +
                     std::to_string(x.tile_rows) + " x " + std::to_string(x.tile_cols) +
                     (format == TileFormat::e4m3 ? " e4m3" : " e5m6") +
                     (power_of_two ? ", power of two" : ""));
        const auto wanted = reference::tiles({.x = to_vector(in),
                                              .T = x.T,
                                              .K = x.K,
                                              .format = format,
                                              .tile_rows = x.tile_rows,
                                              .tile_cols = x.tile_cols,
                                              .power_of_two = power_of_two,
                                              .offsets = x.offsets});

        const auto found = expect_same_bits_everywhere([&](Queue& queue) {
          Tiles tiles = quantize(queue, x, in, format, power_of_two);
          tiles.codes.insert(tiles.codes.end(), tiles.scales.begin(), tiles.scales.end());
          return tiles.codes;
        });

        std::vector<float> all = wanted.codes;
        all.insert(all.end(), wanted.scales.begin(), wanted.scales.end());
        expect_same_numbers(found, all);
      }
    }
  }
}

// Every rounding that the codec's test holds, by the operator: scale 1 because of a 448.
TEST(QuantizeTiles, RoundsEveryBf16AsTheCodecDoes) {
  for (const TileFormat format : {TileFormat::e4m3, TileFormat::e5m6}) {
    const float largest = largest_of(format);
    std::vector<float> x, wanted;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float value = bf16_to_f32(static_cast<uint16_t>(bits));
      if (!(std::abs(value) <= largest)) continue;
      x.insert(x.end(), {value, largest});
      wanted.insert(wanted.end(), {reference::nearest(format, value), largest});
    }
    const auto count = static_cast<int64_t>(x.size());

    const auto found = expect_same_bits_everywhere([&](Queue& queue) {
      const Buffer codes = allocate_f32({count / 2, 2}), scales = allocate_f32({count / 2, 1});
      quantize_tiles(queue, {.x = tensor(static_cast<const float*>(x.data()), {count / 2, 2}),
                             .format = format,
                             .tile_rows = 1,
                             .tile_cols = 2,
                             .power_of_two = false,
                             .codes = codes,
                             .scales = scales});
      queue.wait();
      return vector_of<float>(codes);
    });

    EXPECT_TRUE(same_bits(found, wanted));
  }
}

float scale_of(float amax, bool power_of_two, float least_amax) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = floats({0.0f, -amax, 0.0f}, {1, 3});
  const Buffer codes = allocate_f32({1, 3}), scales = allocate_f32({1, 1});
  quantize_tiles(queue, {.x = x,
                         .format = TileFormat::e4m3,
                         .tile_rows = 1,
                         .tile_cols = 3,
                         .power_of_two = power_of_two,
                         .codes = codes,
                         .scales = scales,
                         .least_amax = least_amax});
  queue.wait();
  return to_vector(scales)[0];
}

TEST(QuantizeTiles, ScalesByTheLeastPowerOfTwoThatFits) {
  EXPECT_EQ(scale_of(448.0f, true, 1e-4f), 1.0f);
  EXPECT_EQ(scale_of(std::nextafter(448.0f, 500.0f), true, 1e-4f), 2.0f);
  EXPECT_EQ(scale_of(std::nextafter(448.0f, 0.0f), true, 1e-4f), 1.0f);
  EXPECT_EQ(scale_of(224.0f, true, 1e-4f), 0.5f);
  EXPECT_EQ(scale_of(225.0f, true, 1e-4f), 1.0f);
  EXPECT_EQ(scale_of(225.0f, false, 1e-4f), 225.0f / 448.0f);
}

TEST(QuantizeTiles, ATileOfSmallNumbersIsScaledAsIfItHadTheLeastAmax) {
  EXPECT_EQ(scale_of(0.0f, false, 1e-4f), 1e-4f / 448.0f);
  EXPECT_EQ(scale_of(1e-6f, false, 1e-4f), 1e-4f / 448.0f);
  EXPECT_EQ(scale_of(1e-6f, false, 1e-9f), 1e-6f / 448.0f);
  EXPECT_EQ(scale_of(0.0f, true, 0x1p-100f), 0x1p-108f);
}

TEST(QuantizeTiles, ANanOrAnInfinityMakesItsTileNanAndNoOther) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const float bad : {nan, -nan, infinity, -infinity}) {
    for (const Case& x : {Case{6, 64, 1, 16, {}}, Case{6, 64, 3, 1, {}}, Case{6, 64, 2, 40, {}}}) {
      const Buffer in = normal({x.T, x.K}, 4);
      const Tiles clean = quantize(queue, x, in, TileFormat::e4m3, true);
      values<float>(in.view)[3 * x.K + 41] = bad;

      const Tiles found = quantize(queue, x, in, TileFormat::e4m3, true);

      for (int64_t i = 0; i < x.T * x.K; ++i) {
        const bool same_tile =
            i / x.K / x.tile_rows == 3 / x.tile_rows && i % x.K / x.tile_cols == 41 / x.tile_cols;
        const auto at = static_cast<size_t>(i);
        if (same_tile) {
          EXPECT_TRUE(std::isnan(found.codes[at])) << i;
        } else {
          EXPECT_EQ(found.codes[at], clean.codes[at]) << i;
        }
      }
      int64_t nans = 0;
      for (const float scale : found.scales) nans += std::isnan(scale) ? 1 : 0;
      EXPECT_EQ(nans, 1);
    }
  }
}

// Law 1.
TEST(QuantizeTiles, ARowOrAGroupHasTheSameCodesAlone) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer in = normal({300, 200}, 5);
  const Case rows{300, 200, 1, 128, {}};
  const Tiles all = quantize(queue, rows, in, TileFormat::e4m3, false);
  const Tiles one = quantize(queue, {1, 200, 1, 128, {}}, row_range(ConstTensor(in), 71, 1),
                             TileFormat::e4m3, false);
  EXPECT_TRUE(same_bits(one.codes, {all.codes.begin() + 71 * 200, all.codes.begin() + 72 * 200}));
  EXPECT_TRUE(same_bits(one.scales, {all.scales.begin() + 142, all.scales.begin() + 144}));

  const Tiles grouped =
      quantize(queue, {300, 200, 128, 1, {0, 7, 7, 140, 300}}, in, TileFormat::e4m3, false);
  const Tiles group = quantize(queue, {133, 200, 128, 1, {}}, row_range(ConstTensor(in), 7, 133),
                               TileFormat::e4m3, false);
  EXPECT_TRUE(
      same_bits(group.codes, {grouped.codes.begin() + 7 * 200, grouped.codes.begin() + 140 * 200}));
  EXPECT_TRUE(
      same_bits(group.scales, {grouped.scales.begin() + 200, grouped.scales.begin() + 600}));
}

std::vector<float> rounded(const ConstTensor& x, TileFormat format, int64_t tile_rows,
                           int64_t tile_cols, bool power_of_two) {
  return expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer y = allocate_f32({x.rows(), x.cols()});
    round_tiles(queue, {.x = x,
                        .format = format,
                        .tile_rows = tile_rows,
                        .tile_cols = tile_cols,
                        .power_of_two = power_of_two,
                        .y = y});
    queue.wait();
    return vector_of<float>(y);
  });
}

TEST(RoundTiles, IsTheCodeTimesTheScale) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer x = normal({5, 300}, 6);
  const Tiles tiles = quantize(queue, {5, 300, 1, 128, {}}, x, TileFormat::e4m3, false);

  const auto found = rounded(x, TileFormat::e4m3, 1, 128, false);

  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i], tiles.codes[i] * tiles.scales[i / 300 * 3 + i % 300 / 128]);
  }
}

TEST(RoundTiles, MayWriteOverItsInput) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer x = normal({130, 30}, 6);
  const auto wanted = rounded(x, TileFormat::e4m3, 128, 1, false);

  round_tiles(queue, {.x = x,
                      .format = TileFormat::e4m3,
                      .tile_rows = 128,
                      .tile_cols = 1,
                      .power_of_two = false,
                      .y = x});
  queue.wait();

  EXPECT_TRUE(same_bits(to_vector(x), wanted));
}

// The report, section 3.3.3: powers of two let the tiles of the input of the linear layer behind
// attention turn from 1 x 128 to 128 x 1 without another error.
TEST(RoundTiles, PowersOfTwoTurnTheTilesOfE5m6WithoutAnotherError) {
  const Buffer x = normal({256, 256}, 7);
  const Buffer once = floats(rounded(x, TileFormat::e5m6, 1, 128, true), {256, 256});
  const Buffer plain = floats(rounded(x, TileFormat::e5m6, 1, 128, false), {256, 256});

  EXPECT_TRUE(same_bits(rounded(once, TileFormat::e5m6, 128, 1, true), to_vector(once)));
  EXPECT_FALSE(same_bits(rounded(plain, TileFormat::e5m6, 128, 1, false), to_vector(plain)));
}

TEST(QuantizeTiles, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({5, 300}, 1), codes = allocate_f32({5, 300});
  const Buffer scales = allocate_f32({5, 3}), small = allocate_f32({5, 2});
  QuantizeTilesArgs args{.x = x,
                         .format = TileFormat::e4m3,
                         .tile_rows = 1,
                         .tile_cols = 128,
                         .power_of_two = false,
                         .codes = codes,
                         .scales = small};
  EXPECT_THAT(kernel_error([&] { quantize_tiles(queue, args); }),
              HasSubstr("quantize_tiles scales is [5, 2] f32, wanted [5, 3] f32"));
  args.scales = scales;
  args.tile_cols = 0;
  EXPECT_THAT(kernel_error([&] { quantize_tiles(queue, args); }),
              HasSubstr("tile is 1 x 0, wanted at least 1 x 1"));
  args.tile_cols = 128;
  args.offsets = {0, 3, 2, 5};
  EXPECT_THAT(kernel_error([&] { quantize_tiles(queue, args); }),
              HasSubstr("quantize_tiles offsets fall from 3 to 2"));
  args.offsets = {0, 4};
  EXPECT_THAT(kernel_error([&] { quantize_tiles(queue, args); }), HasSubstr("end at 4, wanted 5"));
  args.offsets = {};
  args.least_amax = nan;
  EXPECT_THAT(kernel_error([&] { quantize_tiles(queue, args); }), HasSubstr("least_amax is"));
  args.least_amax = 0.0f;
  EXPECT_THAT(kernel_error([&] { quantize_tiles(queue, args); }), HasSubstr("least_amax is 0"));
  EXPECT_THAT(kernel_error([&] { round_bf16(queue, {.x = x, .y = scales}); }),
              HasSubstr("round_bf16 y is [5, 3] f32, wanted [5, 300] f32"));
}

}  // namespace
}  // namespace troupe::tests
