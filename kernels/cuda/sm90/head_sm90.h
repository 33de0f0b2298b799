// The losses of the head in the arithmetic sm_90a.
#pragma once

#include "kernels/layers/gradient.h"
#include "kernels/ops/logits.h"

namespace troupe::kernels::cuda {

/// As cross_entropy (kernels/ops/logits.h), but for the order of the sum: 512 lanes, lane = (column /
/// 8) mod 512, columns ascending, then a tree over 32 neighbouring lanes and one over the 16 sums.
void cross_entropy_sm90(Queue& queue, const CrossEntropyArgs& args);

struct LogitGradientsArgs {
  ConstTensor logits;    ///< [T, V] f32
  ConstTensor targets;   ///< [T] i32
  ConstTensor log_sums;  ///< [T] f32
  float scale;
  Tensor dlogits;  ///< out: [T, V] bf16: cross_entropy_backward's, rounded
};
void logit_gradients(Queue& queue, const LogitGradientsArgs& args);

/// Adds the embedding's unit (rows of dy added in token order from zero, f32) to its fixed-point
/// sum without making it: rows of ids that do not occur are zero. `ids` [T] i32 are read on the
/// host.
void add_embedding_unit(Queue& queue, const ConstTensor& ids, const ConstTensor& dy,
                        const GradientSum& into);

}  // namespace troupe::kernels::cuda
