// Rounding of tensors to the small formats that training keeps and multiplies. What was rounded
// stays in f32: every number of these formats is exact there, and so is a product of two.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

struct RoundBf16Args {
  ConstTensor x;  ///< [T, D] f32
  Tensor y;       ///< out: [T, D] f32, bfloat16 numbers; may be x
};

/// Nearest bfloat16, ties to even; beyond the largest one infinity; NaN stays NaN: f32_to_bf16 and
/// back. Asynchronous. Throws KernelError if a shape or dtype is not as stated.
void round_bf16(Queue& queue, const RoundBf16Args& args);

/// Formats of codes; quantize.h has their bits. e5m6 is DeepSeek-V3's for the input of the linear
/// layer behind attention.
enum class TileFormat : uint8_t { e4m3, e5m6 };

/// The greatest number of a format: 448 and 65,024.
float largest_of(TileFormat format);

/// Arguments of `quantize_tiles`: a matrix in tiles that share a scale; those at the right and
/// lower edge are cut off. 1 x 128 for activations, 128 x 128 for weights, 128 x 1 for the operands
/// of a weight gradient; one tile over all is per-tensor scaling.
struct QuantizeTilesArgs {
  ConstTensor x;  ///< [T, K] f32
  TileFormat format;
  int64_t tile_rows;
  int64_t tile_cols;
  bool power_of_two;  ///< scales are powers of two
  Tensor codes;       ///< out: [T, K] f32, numbers of the format; may be x
  Tensor scales;      ///< out: [ceil(T / tile_rows), ceil(K / tile_cols)] f32
  /// Row ranges whose tiles begin anew at their first row, as in `grouped_gemm`: G + 1 ascending
  /// row numbers, first 0, last T. Then there are tiles_of_groups rows of scales. Empty: one range.
  std::vector<int64_t> offsets = {};
  /// A tile whose greatest absolute value is less is scaled as if it were this. 1e-4 in the
  /// released model; gradients may need less. At least 2^-100.
  float least_amax = 1e-4f;
};

/// scale = amax / largest_of(format), amax the greatest absolute value of the tile; with
/// power_of_two the least power of two that is not below that quotient.
/// code = x / scale to the nearest number of the format, ties to even, at most the largest.
/// A tile with a NaN or an infinity gets NaN as its scale and in all its codes.
///
/// Law 1: with tile_rows 1 a row's codes depend on the row alone. Asynchronous. Throws KernelError
/// if a shape, dtype or number is not as stated.
/// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.2; act_quant_kernel of the release.
void quantize_tiles(Queue& queue, const QuantizeTilesArgs& args);

/// Arguments of `round_tiles`, of the meaning they have in QuantizeTilesArgs.
struct RoundTilesArgs {
  ConstTensor x;  ///< [T, K] f32; or bf16 in the arithmetic sm_90a, in tiles of 1 x 128
  TileFormat format;
  int64_t tile_rows;
  int64_t tile_cols;
  bool power_of_two;
  Tensor y;  ///< out: [T, K] likewise, code times scale: what a stored copy decodes to; may be x
  std::vector<int64_t> offsets = {};
  float least_amax = 1e-4f;
};

void round_tiles(Queue& queue, const RoundTilesArgs& args);

/// Tiles that `n` rows or columns lie in.
inline int64_t tiles_over(int64_t n, int64_t tile) { return n / tile + (n % tile != 0 ? 1 : 0); }

/// Rows of tiles of all groups: the sum of ceil(rows / tile_rows) over the ranges of `offsets`.
int64_t tiles_of_groups(const std::vector<int64_t>& offsets, int64_t tile_rows);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void round_bf16(Queue& queue, const RoundBf16Args& args);
}  // namespace cuda

}  // namespace troupe::kernels
