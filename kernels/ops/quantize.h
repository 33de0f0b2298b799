// Small floating-point formats, to and from f32: codecs of single numbers and of weight files. They
// run on the host and at once, without a queue; rounding.h does the same to activations.
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

/// Nearest E4M3 number, ties to even; beyond 448 it is 448, also for infinities; NaN stays NaN.
uint8_t f32_to_f8_e4m3(float value);

/// An E5M6 number as f32, exactly, of the lower 12 bits: sign, 5 bits of exponent with bias 15, 6
/// of fraction, as IEEE would have it: subnormals down to 2^-20, infinities and NaN. Largest
/// 65,024. DeepSeek-V3's report names the format (section 3.3.3) without its bits: these are our
/// choice.
float e5m6_to_f32(uint16_t bits);

/// Nearest E5M6 number, ties to even; beyond 65,024 it is that, also for infinities; NaN stays NaN.
uint16_t f32_to_e5m6(float value);

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
