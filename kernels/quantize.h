// Small floating-point formats of weight files, to and from f32. These convert files, not
// activations: they run on the host and at once, without a queue.
#pragma once

#include <cstdint>
#include <span>

namespace troupe::kernels {

/// A bfloat16 as f32, exactly.
float bf16_to_f32(uint16_t bits);

/// Nearest bfloat16, ties to even; beyond the largest one infinity; NaN stays NaN.
uint16_t f32_to_bf16(float value);

/// An IEEE half as f32, exactly.
float f16_to_f32(uint16_t bits);

/// An E4M3 number as f32, exactly: bias 7, no infinities, 0x7f and 0xff are NaN, largest 448.
/// Source: Micikevicius et al., "FP8 formats for deep learning", arXiv:2209.05433, table 1.
float f8_e4m3_to_f32(uint8_t bits);

/// Arguments of `dequantize_blocks`: a matrix of R rows and C columns in blocks of
/// `block_rows` x `block_cols`; those at the right and lower edge are cut off.
struct DequantizeBlocksArgs {
  std::span<const uint8_t> codes;  ///< [R, C] E4M3
  int64_t rows;                    ///< R
  int64_t cols;                    ///< C
  std::span<const float> scales;   ///< [ceil(R / block_rows), ceil(C / block_cols)]
  int64_t block_rows;              ///< 128 in the released model
  int64_t block_cols;              ///< 128 in the released model
  std::span<float> out;            ///< out: [R, C], code times the scale of its block
};

/// Throws KernelError if a length is not as stated.
/// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.2; `weight_scale_inv` of the released
/// weights.
void dequantize_blocks(const DequantizeBlocksArgs& args);

}  // namespace troupe::kernels
