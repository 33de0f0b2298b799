// Tiles of codes, compiled for each instruction set by rounding.cpp and mxfp8.cpp.

#define TROUPE_LANE inline
#include "kernels/math/tile_math.inl"
#undef TROUPE_LANE

/// Columns of n <= 16 lanes, of which a scale belongs to each lane.
inline void encode_columns(const TileBlock& b, const F16& scale, int64_t col, int n, int64_t row) {
  const F16 code = encode_lanes(b.rule, load_lanes(b.x + row * b.x_row + col, n), scale);
  store_lanes(b.y + row * b.y_row + col, b.scales == nullptr ? code * scale : code, n);
}

/// Tiles of one column: the scales of 16 of them stand side by side.
inline void encode_narrow_tiles(const TileBlock& b) {
  for_lanes(b.cols, [&](int64_t col, int n) {
    TileExtent extent{zero(), zero()};
    for (int64_t row = 0; row < b.rows; ++row) {
      extend(extent, load_lanes(b.x + row * b.x_row + col, n));
    }
    const F16 scale = scale_lanes(b.rule, extent);
    if (b.scales != nullptr) store_lanes(b.scales + col, scale, n);
    for (int64_t row = 0; row < b.rows; ++row) encode_columns(b, scale, col, n, row);
  });
}

inline void encode_tiles(const TileBlock& b) {
  if (b.tile_cols == 1) return encode_narrow_tiles(b);
  for (int64_t first = 0, tile = 0; first < b.cols; first += b.tile_cols, ++tile) {
    const int64_t cols = std::min(b.tile_cols, b.cols - first);
    TileExtent extent{zero(), zero()};
    for (int64_t row = 0; row < b.rows; ++row) {
      const float* x = b.x + row * b.x_row + first;
      for_lanes(cols, [&](int64_t i, int n) { extend(extent, load_lanes(x + i, n)); });
    }
    const TileExtent whole{set1(greatest_lane(extent.amax)), set1(sum_lanes(extent.trouble))};
    const F16 scale = scale_lanes(b.rule, whole);
    if (b.scales != nullptr) store_lanes(b.scales + tile, scale, 1);
    for (int64_t row = 0; row < b.rows; ++row) {
      for_lanes(cols, [&](int64_t i, int n) { encode_columns(b, scale, first + i, n, row); });
    }
  }
}
