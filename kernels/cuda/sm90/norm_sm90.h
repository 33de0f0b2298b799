// RMSNorm in the arithmetic sm_90a, of rows in f32 or bf16.
//
// The order of a row's sums: 32 lanes, lane = (column / 8) mod 32, columns ascending, one FMA chain
// a lane, then a tree over the lanes, halves first. The weight's gradient: a chain over every 64
// rows, the chains' sums added ascending.
#pragma once

#include "kernels/ops/norm.h"

namespace troupe::kernels::cuda {

void rms_norm_sm90(Queue& queue, const RmsNormArgs& args);
void rms_norm_backward_inputs_sm90(Queue& queue, const RmsNormBackwardArgs& args);
void rms_norm_backward_weights_sm90(Queue& queue, const RmsNormWeightGradientArgs& args);

}  // namespace troupe::kernels::cuda
