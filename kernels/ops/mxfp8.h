// MXFP8, the format of newer tensor cores: 1 x 32 tiles of E4M3 that share a power of two.
#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

struct RoundMxfp8Args {
  ConstTensor x;  ///< [T, K] f32
  Tensor y;       ///< out: [T, K] f32, code times scale: what a copy in MXFP8 decodes to; may be x
};

/// scale = 2^(floor(log2 amax) - 8), amax the greatest absolute value of 32 neighbours, at least
/// 2^-127 (E8M0 has nothing less); code = x / scale to the nearest E4M3 number, ties to even, and
/// 448 beyond it: up to 511 would be needed. A NaN or an infinity makes its tile NaN.
///
/// Law 1: a row depends on itself alone. Asynchronous. Throws KernelError if a shape or dtype is
/// not as stated.
/// Source: OCP Microscaling Formats (MX) Specification, version 1.0, section 6.3.
void round_mxfp8(Queue& queue, const RoundMxfp8Args& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void round_mxfp8(Queue& queue, const RoundMxfp8Args& args);
}  // namespace cuda

}  // namespace troupe::kernels
