#pragma once

#include <vector>

#include "kernels/cpu/tile_codes.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

/// A row of tiles: its rows of x.
struct TileBand {
  int64_t first;
  int64_t rows;
};

/// x in tiles; without scales y gets code times scale.
struct EncodeTilesArgs {
  const char* what;  ///< the operator
  cpu::TileRule rule;
  ConstTensor x;  ///< [T, K] f32
  Tensor y;       ///< [T, K] f32
  Tensor scales;  ///< [bands, tiles over K] f32, or no data
  int64_t tile_rows, tile_cols;
  std::vector<TileBand> bands;  ///< empty: every tile_rows rows
};
void encode_tiles(Queue& queue, const EncodeTilesArgs& args);

/// Tiles of 1 x 128 of rows in bf16: y = code times scale, rounded to nearest (exact where scales
/// are powers of two).
struct RoundRowsArgs {
  const char* what;
  cpu::TileRule rule;
  ConstTensor x;  ///< [T, K] bf16
  Tensor y;       ///< [T, K] bf16; may be x
};
void round_rows(Queue& queue, const RoundRowsArgs& args);

}  // namespace troupe::kernels::cuda
