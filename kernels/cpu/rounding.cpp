#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/rounding.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "kernels/cpu/gemm/gemm_plan.h"
#include "kernels/cpu/tile_codes.h"
#include "kernels/cuda/rounding.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/rounding.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

// Not (n + tile - 1) / tile: a tile may be as large as a number can be.
TileRule rule_of(const QuantizeTilesArgs& args) {
  const bool e4m3 = args.format == TileFormat::e4m3;
  return {.largest = largest_of(args.format),
          .least_normal = e4m3 ? 0x1p-6f : 0x1p-14f,
          .rounder = e4m3 ? 0x1.8p20f : 0x1.8p17f,
          .least_amax = args.least_amax,
          .scaling = args.power_of_two ? Scaling::least_power : Scaling::quotient};
}

/// Rows of tiles: where each begins and how many rows it has.
class TileRows {
 public:
  TileRows(const std::vector<int64_t>& offsets, int64_t rows, int64_t tile_rows)
      : tile_rows_(tile_rows) {
    if (offsets.empty()) {
      offsets_ = {0, rows};
    } else {
      offsets_ = offsets;
    }
    for (size_t g = 0; g + 1 < offsets_.size(); ++g) {
      starts_.push_back(starts_.back() + tiles_over(offsets_[g + 1] - offsets_[g], tile_rows));
    }
  }
  int64_t count() const { return starts_.back(); }
  Range rows(int64_t tile) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), tile);
    const auto group = static_cast<size_t>(after - starts_.begin() - 1);
    const int64_t begin = offsets_[group] + (tile - starts_[group]) * tile_rows_;
    return {begin, begin + std::min(tile_rows_, offsets_[group + 1] - begin)};
  }

 private:
  int64_t tile_rows_;
  std::vector<int64_t> offsets_;
  std::vector<int64_t> starts_{0};  ///< tiles before each group
};

/// As the GPU takes them: none where they follow from tile_rows.
std::vector<cuda::TileBand> bands_of(const QuantizeTilesArgs& args, const TileRows& tiles) {
  std::vector<cuda::TileBand> bands;
  if (args.offsets.size() <= 2 || args.tile_rows == 1) return bands;
  for (int64_t tile = 0; tile < tiles.count(); ++tile) {
    const Range rows = tiles.rows(tile);
    bands.push_back({rows.begin, rows.end - rows.begin});
  }
  return bands;
}

void expect_tiles(const std::string& what, const QuantizeTilesArgs& args) {
  const int64_t T = args.x.rows(), K = args.x.cols();
  if (args.tile_rows < 1 || args.tile_cols < 1) {
    throw KernelError(what + " tile is " + std::to_string(args.tile_rows) + " x " +
                      std::to_string(args.tile_cols) + ", wanted at least 1 x 1");
  }
  if (!(args.least_amax >= 0x1p-100f && args.least_amax <= std::numeric_limits<float>::max())) {
    throw KernelError(what + " least_amax is " + std::to_string(args.least_amax) +
                      ", wanted a finite number of at least 2^-100");
  }
  expect_shape((what + " x").c_str(), args.x, args.codes.dtype, {T, K});
  if (!args.offsets.empty()) {
    expect_offsets(what.c_str(), args.offsets, args.offsets.size() - 1, T);
  }
}

/// Everything of `args` is checked; without scales the codes are decoded.
void run_tiles(Queue& queue, const char* what, const QuantizeTilesArgs& args) {
  const int64_t K = args.x.cols();
  const auto bands = std::make_shared<const TileRows>(args.offsets, args.x.rows(), args.tile_rows);
  if (queue.is_cuda()) {
    return cuda::encode_tiles(queue, {.what = what, .rule = rule_of(args), .x = args.x,
                                      .y = args.codes, .scales = args.scales,
                                      .tile_rows = args.tile_rows, .tile_cols = args.tile_cols,
                                      .bands = bands_of(args, *bands)});
  }
  const int64_t across = tiles_over(K, args.tile_cols);
  // An item is some neighbouring tiles of a row of tiles: about 128 columns.
  const int64_t together = std::max<int64_t>(1, 128 / args.tile_cols);
  const int64_t chunks = tiles_over(across, together);
  const int64_t items = bands->count() * chunks;
  const int64_t rows = std::min(args.tile_rows, args.x.rows());
  const int64_t parts =
      part_count(queue, items, rows * std::min(K, together * args.tile_cols) / 2 + 8);
  const TileRule rule = rule_of(args);
  queue.run(parts, [args, bands, rule, across, together, chunks, items, parts, K](int64_t part) {
    const auto [begin, end] = part_range(items, parts, part);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t band = item / chunks, tile = item % chunks * together;
      const Range rows = bands->rows(band);
      const int64_t col = tile * args.tile_cols;
      const int64_t tiles = std::min(together, across - tile);
      TROUPE_ISA_CALL(encode_tiles)
      ({.rule = rule,
        .x = values<float>(args.x) + rows.begin * args.x.row_stride + col,
        .x_row = args.x.row_stride,
        .y = values<float>(args.codes) + rows.begin * args.codes.row_stride + col,
        .y_row = args.codes.row_stride,
        .scales = args.scales.data == nullptr
                      ? nullptr
                      : values<float>(args.scales) + band * args.scales.row_stride + tile,
        .rows = rows.end - rows.begin,
        .cols = tiles < across - tile ? tiles * args.tile_cols : K - col,
        .tile_cols = args.tile_cols});
    }
  });
}

}  // namespace

float largest_of(TileFormat format) { return format == TileFormat::e4m3 ? 448.0f : 65024.0f; }

int64_t tiles_of_groups(const std::vector<int64_t>& offsets, int64_t tile_rows) {
  return offsets.empty() ? 0 : TileRows(offsets, 0, tile_rows).count();
}

void round_bf16(Queue& queue, const RoundBf16Args& args) {
  const OperatorLabel label("round_bf16");
  const int64_t T = args.x.rows(), D = args.x.cols();
  expect_shape("round_bf16 x", args.x, DType::f32, {T, D});
  expect_shape("round_bf16 y", args.y, DType::f32, {T, D});
  if (queue.is_cuda()) return cuda::round_bf16(queue, args);
  const int64_t parts = part_count(queue, T, D / 4 + 1);
  queue.run(parts, [args, T, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    TROUPE_ISA_CALL(round_bf16_rows)(args, begin, end);
  });
}

void quantize_tiles(Queue& queue, const QuantizeTilesArgs& args) {
  const OperatorLabel label("quantize_tiles");
  expect_tiles("quantize_tiles", args);
  const int64_t T = args.x.rows(), K = args.x.cols();
  const int64_t down = TileRows(args.offsets, T, args.tile_rows).count();
  expect_shape("quantize_tiles codes", args.codes, DType::f32, {T, K});
  expect_shape("quantize_tiles scales", args.scales, DType::f32,
               {down, tiles_over(K, args.tile_cols)});
  if (T > 0 && K > 0) run_tiles(queue, "quantize_tiles", args);
}

void round_tiles(Queue& queue, const RoundTilesArgs& args) {
  const OperatorLabel label("round_tiles");
  const QuantizeTilesArgs same{.x = args.x,
                               .format = args.format,
                               .tile_rows = args.tile_rows,
                               .tile_cols = args.tile_cols,
                               .power_of_two = args.power_of_two,
                               .codes = args.y,
                               .scales = {},
                               .offsets = args.offsets,
                               .least_amax = args.least_amax};
  expect_tiles("round_tiles", same);
  const int64_t T = args.x.rows(), K = args.x.cols();
  if (queue.arithmetic() == Arithmetic::sm_90a && args.x.dtype == DType::bf16) {
    expect_shape("round_tiles y", args.y, DType::bf16, {T, K});
    if (args.tile_rows != 1 || args.tile_cols != 128) {
      throw KernelError("round_tiles tile of bf16 is " + std::to_string(args.tile_rows) + " x " +
                        std::to_string(args.tile_cols) + ", wanted 1 x 128");
    }
    if (T == 0 || K == 0) return;
    return cuda::round_rows(
        queue, {.what = "round_tiles", .rule = rule_of(same), .x = args.x, .y = args.y});
  }
  expect_shape("round_tiles y", args.y, DType::f32, {T, K});
  if (T > 0 && K > 0) run_tiles(queue, "round_tiles", same);
}

}  // namespace troupe::kernels

#else

inline void round_bf16_rows(const RoundBf16Args& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* x = values<float>(args.x) + t * args.x.row_stride;
    float* y = values<float>(args.y) + t * args.y.row_stride;
    for_lanes(args.x.cols(), [&](int64_t i, int n) {
      store_lanes(y + i, nearest_bf16(load_lanes(x + i, n)), n);
    });
  }
}

#include "kernels/cpu/tile_codes.inl"

#endif
