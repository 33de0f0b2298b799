#include "kernels/cuda/sm90/quantize_sm90.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "kernels/buffer.h"
#include "kernels/ops/quantize.h"
#include "kernels/ops/rounding.h"
#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;

class QuantizeSm90 : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

/// Numbers of many magnitudes, with zeros of both signs, and rows of zeros, NaN and infinity.
std::vector<uint16_t> numbers_of(int64_t M, int64_t K) {
  Numbers numbers(static_cast<uint64_t>(M * 1000 + K));
  std::vector<uint16_t> out;
  for (int64_t m = 0; m < M; ++m) {
    for (int64_t k = 0; k < K; ++k) {
      float v = std::ldexp(numbers.normal(), numbers.integer(-12, 4) - static_cast<int>(m % 20));
      if (k % 29 == 0) v = 0.0f;
      if (k % 31 == 0) v = -0.0f;
      if (m % 61 == 7) v = 0.0f;
      if (m % 127 == 50 && k == K / 2) v = INFINITY;
      if (m % 127 == 90 && k == K / 3) v = NAN;
      out.push_back(f32_to_bf16(v));
    }
  }
  return out;
}

/// What quantize_tiles of the CPU makes of it.
struct Tiles {
  std::vector<float> codes, scales;
};
Tiles wanted_tiles(const std::vector<uint16_t>& x, int64_t M, int64_t K, int64_t tile_rows,
                   int64_t tile_cols, bool power_of_two, float least_amax,
                   const std::vector<int64_t>& offsets) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer values_f32 = allocate_f32({M, K}), codes = allocate_f32({M, K});
  const int64_t down =
      offsets.empty() ? tiles_over(M, tile_rows) : tiles_of_groups(offsets, tile_rows);
  const Buffer scales = allocate_f32({down, tiles_over(K, tile_cols)});
  for (size_t i = 0; i < x.size(); ++i) values<float>(values_f32.view)[i] = bf16_to_f32(x[i]);
  quantize_tiles(queue, {.x = values_f32,
                         .format = TileFormat::e4m3,
                         .tile_rows = tile_rows,
                         .tile_cols = tile_cols,
                         .power_of_two = power_of_two,
                         .codes = codes,
                         .scales = scales,
                         .offsets = offsets,
                         .least_amax = least_amax});
  queue.wait();
  return {to_vector(codes), to_vector(scales)};
}

void expect_code(uint8_t found, float wanted) {
  if (std::isnan(wanted)) {
    ASSERT_EQ(found & 0x7f, 0x7f);
  } else {
    ASSERT_EQ(found, f32_to_f8_e4m3(wanted)) << f8_e4m3_to_f32(found) << ", wanted " << wanted;
  }
}

void expect_scale(float found, float wanted) {
  if (std::isnan(wanted) && std::isnan(found)) return;
  ASSERT_EQ(std::bit_cast<uint32_t>(found), std::bit_cast<uint32_t>(wanted));
}

struct Case {
  int64_t M, K;
  bool power_of_two;
  float least_amax;
  std::vector<int32_t> offsets;  ///< empty: one group
};

TEST_F(QuantizeSm90, GivesTheBitsOfTheCpuForRowsAndColumns) {
  for (const Case& c : std::vector<Case>{{256, 256, false, 1e-4f, {}},
                                         {1, 16, false, 1e-4f, {}},
                                         {300, 400, true, 1e-4f, {}},
                                         {300, 400, false, 1e-20f, {}},
                                         {300, 400, false, 0x1p-100f, {}},
                                         {129, 144, false, 1e-4f, {}},
                                         {417, 272, false, 1e-4f, {0, 0, 1, 131, 131, 260, 417}}}) {
    SCOPED_TRACE(std::to_string(c.M) + " x " + std::to_string(c.K));
    const std::vector<uint16_t> x = numbers_of(c.M, c.K);
    const std::vector<int64_t> offsets(c.offsets.begin(), c.offsets.end());
    const Tiles rows = wanted_tiles(x, c.M, c.K, 1, 128, c.power_of_two, c.least_amax, {});
    const Tiles columns = wanted_tiles(x, c.M, c.K, 128, 1, c.power_of_two, c.least_amax, offsets);
    std::vector<int32_t> starts =
        offsets.empty() ? std::vector<int32_t>{0, static_cast<int32_t>(c.M)} : c.offsets;
    std::vector<int32_t> blocks{0};
    for (size_t g = 0; g + 1 < starts.size(); ++g) {
      blocks.push_back(blocks.back() + (starts[g + 1] - starts[g] + 127) / 128);
    }
    const int64_t spare = offsets.empty() ? 0 : 2;  // blocks that no group has
    const int64_t wide = 128 * (blocks.back() + spare), stride = (c.M + 3) / 4 * 4;
    const int64_t across = tiles_over(c.K, 128);
    const DeviceArray<uint16_t> in(x);
    const DeviceArray<int32_t> row_offsets(starts), block_offsets(blocks);
    DeviceArray<uint8_t> codes(static_cast<size_t>(c.M * c.K), 0xee);
    DeviceArray<uint8_t> turned(static_cast<size_t>(c.K * wide), 0xee);
    DeviceArray<float> row_scales(static_cast<size_t>(across * stride), -1.0f);
    DeviceArray<float> column_scales(static_cast<size_t>((blocks.back() + spare) * c.K), -1.0f);

    kernels::cuda::quantize_sm90({.x = in.data(),
                                  .x_stride = c.K,
                                  .M = c.M,
                                  .K = c.K,
                                  .power_of_two = c.power_of_two,
                                  .least_amax = c.least_amax,
                                  .rows = codes.data(),
                                  .row_scales = row_scales.data(),
                                  .row_scales_stride = stride,
                                  .columns = turned.data(),
                                  .column_scales = column_scales.data(),
                                  .column_scales_stride = c.K,
                                  .groups = static_cast<int>(starts.size()) - 1,
                                  .row_offsets = offsets.empty() ? nullptr : row_offsets.data(),
                                  .block_offsets = offsets.empty() ? nullptr : block_offsets.data(),
                                  .blocks = blocks.back() + spare},
                                 nullptr);

    const auto found_codes = codes.values(), found_turned = turned.values();
    const auto found_rows = row_scales.values(), found_columns = column_scales.values();
    for (size_t g = 0; g + 1 < starts.size(); ++g) {
      for (int64_t at = 0; at < 128 * (blocks[g + 1] - blocks[g]); ++at) {
        const int64_t m = starts[g] + at, place = 128 * blocks[g] + at;
        for (int64_t k = 0; k < c.K; ++k) {
          SCOPED_TRACE("row " + std::to_string(m) + ", column " + std::to_string(k));
          const uint8_t found = found_turned[static_cast<size_t>(k * wide + place)];
          const float scale = columns.scales[static_cast<size_t>(place / 128 * c.K + k)];
          expect_scale(found_columns[static_cast<size_t>(place / 128 * c.K + k)], scale);
          if (m >= starts[g + 1]) {
            expect_code(found, std::isnan(scale) ? NAN : 0.0f);
            continue;
          }
          expect_code(found, columns.codes[static_cast<size_t>(m * c.K + k)]);
          expect_code(found_codes[static_cast<size_t>(m * c.K + k)],
                      rows.codes[static_cast<size_t>(m * c.K + k)]);
          expect_scale(found_rows[static_cast<size_t>(k / 128 * stride + m)],
                       rows.scales[static_cast<size_t>(m * across + k / 128)]);
          if (HasFatalFailure()) return;
        }
      }
    }
    for (int64_t i = 0; i < 128 * spare; ++i) {
      ASSERT_EQ(found_turned[static_cast<size_t>(wide - 1 - i)], 0xee) << "a block of no group";
    }
  }
}

TEST_F(QuantizeSm90, GivesTheBitsOfTheCpuForBlocksAndTheirTranspose) {
  for (const Case& c :
       std::vector<Case>{{256, 128, false, 1e-4f, {}}, {144, 400, true, 1e-4f, {}}, {77, 48, false, 1e-4f, {}}}) {
    SCOPED_TRACE(std::to_string(c.M) + " x " + std::to_string(c.K));
    const std::vector<uint16_t> w = numbers_of(c.M, c.K);
    const Tiles tiles = wanted_tiles(w, c.M, c.K, 128, 128, c.power_of_two, c.least_amax, {});
    const int64_t down = tiles_over(c.M, 128), across = tiles_over(c.K, 128);
    const int64_t wide = (c.M + 15) / 16 * 16;
    const DeviceArray<uint16_t> in(w);
    DeviceArray<uint8_t> codes(static_cast<size_t>(c.M * c.K), 0xee);
    DeviceArray<uint8_t> turned(static_cast<size_t>(c.K * wide), 0xee);
    DeviceArray<float> scales(static_cast<size_t>(down * across), -1.0f);
    DeviceArray<float> turned_scales(static_cast<size_t>(down * across), -1.0f);

    kernels::cuda::quantize_blocks_sm90({.w = in.data(),
                                         .w_stride = c.K,
                                         .groups = 1,
                                         .N = c.M,
                                         .K = c.K,
                                         .power_of_two = c.power_of_two,
                                         .least_amax = c.least_amax,
                                         .codes = codes.data(),
                                         .scales = scales.data(),
                                         .scales_stride = across,
                                         .transposed = turned.data(),
                                         .transposed_scales = turned_scales.data(),
                                         .transposed_scales_stride = down},
                                        nullptr);

    const auto found = codes.values(), found_turned = turned.values();
    const auto found_scales = scales.values(), found_turned_scales = turned_scales.values();
    for (int64_t n = 0; n < c.M; ++n) {
      for (int64_t k = 0; k < c.K; ++k) {
        const float wanted = tiles.codes[static_cast<size_t>(n * c.K + k)];
        expect_code(found[static_cast<size_t>(n * c.K + k)], wanted);
        expect_code(found_turned[static_cast<size_t>(k * wide + n)], wanted);
        const float scale = tiles.scales[static_cast<size_t>(n / 128 * across + k / 128)];
        expect_scale(found_scales[static_cast<size_t>(n / 128 * across + k / 128)], scale);
        expect_scale(found_turned_scales[static_cast<size_t>(k / 128 * down + n / 128)], scale);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace troupe::tests
