// SwiGLU of networks in FP8, from and to the codes that their products read: what is between two
// products is read once, and in bfloat16 only where a product wrote it.
// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.3: what backward reads of SwiGLU is
// kept in FP8.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::kernels::cuda {

/// Codes of rows in tiles of 1 x 128. Pointers are in device memory, 16-byte aligned.
struct RowCodes {
  uint8_t* codes;        ///< [R, D] e4m3
  float* scales;         ///< [D / 128, R], rows `scales_stride` apart
  int64_t scales_stride;
};

/// Codes of columns in tiles of 128 x 1, turned: groups begin at multiples of 128.
struct ColumnCodes {
  uint8_t* codes;  ///< [D, 128 blocks] e4m3, zeros behind a group's last row
  float* scales;   ///< [blocks, D]
};

struct SwigluCodesSm90Args {
  const uint16_t* both;  ///< [R, 2 F] bfloat16: gate, and up beside it
  int64_t R;               ///< up to an even number, times F: at most 2^38
  int64_t F;               ///< a multiple of 128, at most 2^30
  float least_amax;        ///< of any tile, from 2^-60 on
  RowCodes kept;           ///< out: of both, D = 2 F
  RowCodes activated;      ///< out: of silu(gate) * up rounded to bfloat16, D = F
};

/// The bits of swiglu and quantize_sm90, scales not rounded to powers of two. Law 1 holds.
/// Asynchronous on `stream`. Throws KernelError if a size is not as stated or the launch fails.
void swiglu_codes_sm90(const SwigluCodesSm90Args& args, cudaStream_t stream);

struct SwigluBackwardCodesSm90Args {
  const uint16_t* dactivated;  ///< [R, F] bfloat16
  RowCodes kept;               ///< of gate and up, D = 2 F: read
  int64_t R;
  int64_t F;                 ///< a multiple of 128
  float least_amax;          ///< of tiles of `activated`, from 2^-60 on
  float least_gradient;      ///< of tiles of `rows` and `columns`
  ColumnCodes activated;     ///< out: D = F
  RowCodes rows;             ///< out: of the gradients of gate, and of up beside it, D = 2 F
  ColumnCodes columns;       ///< out: of the same
  int groups;
  const int32_t* row_offsets;    ///< [groups + 1] in device memory
  const int32_t* block_offsets;  ///< [groups + 1] in device memory: tiles of 128 rows before each
  int64_t blocks;                ///< in all
};

/// The bits of swiglu and swiglu_backward of what the codes say in bfloat16, and of quantize_sm90
/// of their results in bfloat16.
void swiglu_backward_codes_sm90(const SwigluBackwardCodesSm90Args& args, cudaStream_t stream);

}  // namespace troupe::kernels::cuda
