// What rounding.cpp and mxfp8.cpp share with their kernels, per instruction set and on the GPU.
#pragma once

#include <cstdint>

namespace troupe::kernels::cpu {

/// The scale of a tile whose greatest absolute value is amax.
enum class Scaling : uint8_t {
  quotient,     ///< amax / largest
  least_power,  ///< the least power of two not below that
  mx,           ///< 2^(floor(log2 amax) - 8): MXFP8's, under which numbers above `largest` are cut
};

/// How a tile is encoded.
struct TileRule {
  float largest;       ///< number of the format
  float least_normal;  ///< of the format
  float rounder;       ///< 1.5 * 2^(23 - fraction bits): see encode_lanes
  float least_amax;    ///< what a tile is scaled by at least
  Scaling scaling;
};

/// MXFP8. The least amax, 2^-119, gives the least scale, 2^-127.
constexpr int64_t mx_tile = 32;
constexpr TileRule mx_rule{.largest = 448.0f,
                           .least_normal = 0x1p-6f,
                           .rounder = 0x1.8p20f,
                           .least_amax = 0x1p-119f,
                           .scaling = Scaling::mx};

/// Neighbouring tiles of one row of tiles.
struct TileBlock {
  TileRule rule;
  const float* x;
  int64_t x_row;
  float* y;
  int64_t y_row;
  float* scales;  ///< of the first tile; null: y gets code times scale
  int64_t rows, cols, tile_cols;
};

}  // namespace troupe::kernels::cpu
