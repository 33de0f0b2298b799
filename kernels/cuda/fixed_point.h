#pragma once

#include "kernels/ops/fixed_point.h"

namespace troupe::kernels::cuda {

/// With 2^s, and the least f32 that is out of range. `args.faults` is in memory that the GPU
/// reaches.
void accumulate_unit(Queue& queue, const AccumulateUnitArgs& args, double scale, float bound);

}  // namespace troupe::kernels::cuda
