#pragma once

#include <optional>

#include "kernels/buffer.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// YaRN's extension of RoPE. Source: Peng et al., arXiv:2309.00071; the released code of
/// DeepSeek-V3, `precompute_freqs_cis`.
struct Yarn {
  double factor;                 ///< s: context times s
  double original_positions;     ///< positions trained before the extension
  double beta_fast;              ///< 32
  double beta_slow;              ///< 1
  double mscale;                 ///< see softmax_scale
  double mscale_all_dim;
};

/// Cosines and sines of the rotation angles, R = rotary width, P positions.
struct RopeTable {
  Buffer cosines;  ///< [P, R / 2] f32
  Buffer sines;    ///< [P, R / 2] f32
};

/// Angle of pair i at position p is p * f_i, f_i = theta^(-2i / R), under YaRN
/// f_i / s * ramp_i + f_i * (1 - ramp_i). Computed in f64 and rounded once. With YaRN the table is
/// multiplied by m(mscale) / m(mscale_all_dim), m(x) = 0.1 x ln(s) + 1, as transformers has it
/// (1 when both are equal).
RopeTable rope_table(int64_t positions, int64_t rotary, double theta,
                     const std::optional<Yarn>& yarn);

/// Scale of the attention scores: (nope + rotary)^-1/2, times m(mscale_all_dim)^2 under YaRN
/// (when mscale_all_dim is not 0).
float softmax_scale(int64_t query_width, const std::optional<Yarn>& yarn);

/// Arguments of `rope`: T tokens of `heads` heads, R columns each.
struct RopeArgs {
  ConstTensor x;          ///< [T * heads, R] f32, may be a slice of columns
  int64_t heads;
  ConstTensor positions;  ///< [T] i32
  ConstTensor cosines;    ///< [P, R / 2] f32
  ConstTensor sines;      ///< [P, R / 2] f32
  bool inverse;           ///< rotate back: the backward of the rotation
  Tensor y;               ///< out: [T * heads, R] f32; may be x
};

/// Rotates pairs (2i, 2i + 1): (a, b) -> (a cos - b sin, a sin + b cos), each as fma(a, cos,
/// -(b * sin)) and fma(a, sin, b * cos). A position outside the table is a KernelError.
void rope(Queue& queue, const RopeArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void rope(Queue& queue, const RopeArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
