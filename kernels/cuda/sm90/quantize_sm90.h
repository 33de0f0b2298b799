// Activations, gradients and weights from bfloat16 to the E4M3 codes and scales that FP8 products
// read (gemm_fp8_wgmma.h), rows and columns from one read. Meaning and bits are those of
// `quantize_tiles` (kernels/ops/rounding.h).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::kernels::cuda {

/// x in tiles of 1 x 128 and, where `columns` is given, of 128 x 1 too. Pointers are in device
/// memory, 16-byte aligned.
struct QuantizeSm90Args {
  const uint16_t* x;  ///< [M, K] bfloat16, rows `x_stride` apart
  int64_t x_stride;   ///< a multiple of 8, at least K
  int64_t M;
  int64_t K;          ///< a multiple of 16
  bool power_of_two;  ///< scales are powers of two
  float least_amax;   ///< as in QuantizeTilesArgs
  uint8_t* rows = nullptr;  ///< out: [M, K] e4m3; or null, where there are columns
  float* row_scales = nullptr;  ///< out: [ceil(K / 128), M], rows `row_scales_stride` apart; or null
  int64_t row_scales_stride = 0;
  uint8_t* columns = nullptr;  ///< out: [K, 128 blocks] e4m3, the transpose; zeros behind a last row; or null
  float* column_scales = nullptr;  ///< out: [blocks, K], rows `column_scales_stride` apart
  int64_t column_scales_stride = 0;
  /// Groups of rows whose tiles of columns begin anew; null: one group of all rows.
  int groups = 1;
  const int32_t* row_offsets = nullptr;    ///< [groups + 1] in device memory
  const int32_t* block_offsets = nullptr;  ///< [groups + 1] in device memory: tiles of 128 rows before each
  int64_t blocks = 0;  ///< in all: an upper bound will do; those behind are not written
  /// Where x is a table of `table_rows` rows: row m is x[index[m]], zeros if there is none such. It
  /// gives columns; with `weights`, row m is weights[m] x[index[m]] rounded to bfloat16, and it gives
  /// rows and columns.
  const int32_t* index = nullptr;  ///< [M] in device memory
  int64_t table_rows = 0;
  const float* weights = nullptr;  ///< [M] in device memory
};

/// Law 1 holds for rows. Asynchronous on `stream`. Throws KernelError if a size is not as stated or
/// the launch fails.
void quantize_sm90(const QuantizeSm90Args& args, cudaStream_t stream);

/// Weights in blocks of 128 x 128, as they are, transposed, or both: with the same codes. Several
/// lie one behind the other, and so do their results.
struct QuantizeBlocksSm90Args {
  const uint16_t* w;  ///< [groups, N, K] bfloat16, rows `w_stride` apart
  int64_t w_stride;   ///< a multiple of 8, at least K
  int groups;         ///< one, unless N is a multiple of 128
  int64_t N;
  int64_t K;  ///< a multiple of 16
  bool power_of_two;
  float least_amax;
  uint8_t* codes;  ///< out: [groups, N, K] e4m3; or null
  float* scales;   ///< out: [groups ceil(N / 128), ceil(K / 128)], rows a stride apart; or null
  int64_t scales_stride;
  /// out: [groups, K, N up to a multiple of 16] e4m3, zeros behind N; or null
  uint8_t* transposed;
  float* transposed_scales;  ///< out: [groups ceil(K / 128), ceil(N / 128)]; or null
  int64_t transposed_scales_stride;
};

void quantize_blocks_sm90(const QuantizeBlocksSm90Args& args, cudaStream_t stream);

}  // namespace troupe::kernels::cuda
