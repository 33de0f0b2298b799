// LogFMT: tiles of 1 x 128 whose codes are equally spaced logarithms, for tokens on the wire.
#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

struct RoundLogfmtArgs {
  ConstTensor x;  ///< [T, K] f32
  int bits;       ///< n of a code, sign included: 8 and 10 in the paper; 4 to 16
  Tensor y;       ///< out: [T, K] f32, what the codes decode to; may be x
};

/// Of the numbers of a tile that are not 0: high = the greatest ln|x|, low = the least one, but not
/// below high - 32 ln 2; step = (high - low) / (2^(n-1) - 2). Code k = 1 .. 2^(n-1) - 1 decodes to
/// +- f32(e^(low + step (k - 1))), code 0 to 0. Each x gets the nearest of these in linear space;
/// a tie goes to the lesser. In f64, with the logarithm and power of scalar_math.h. A NaN or an
/// infinity makes its tile NaN.
///
/// Law 1: a row depends on itself alone. Asynchronous. Throws KernelError if a shape, dtype or
/// number is not as stated.
/// Source: Zhao et al., "Insights into DeepSeek-V3", arXiv:2505.09343, section 3.2.
void round_logfmt(Queue& queue, const RoundLogfmtArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void round_logfmt(Queue& queue, const RoundLogfmtArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
