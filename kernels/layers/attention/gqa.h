// Grouped-query attention (GQA): what MLA is compared with. H query heads share H_kv heads of keys
// and values; with H_kv = H it is multi-head attention (MHA). Source: Ainslie et al.,
// arXiv:2305.13245; the layer and its names are those of Hugging Face's LlamaAttention, but
// rotation turns pairs (2i, 2i + 1) of the whole head, as everywhere here.
#pragma once

#include <vector>

#include "kernels/layers/attention/mla.h"

namespace troupe::kernels {

/// One tensor an operator uses, as a weight, or (Tensor = GradientSum) as its gradient. R is the
/// width of a head.
template <class Tensor>
struct GqaTensors {
  Tensor q;  ///< [H * R, D]
  Tensor k;  ///< [H_kv * R, D]
  Tensor v;  ///< [H_kv * R, D]
  Tensor o;  ///< [D, H * R]
};
using GqaWeights = GqaTensors<ConstTensor>;
using GqaGradients = GqaTensors<GradientSum>;

/// What forward computes and backward reads.
struct GqaSaved {
  Tensor q;            // [T, H * R], rotated
  Tensor k, v;         // [T, H_kv * R], keys rotated
  Tensor o, log_sums;  // [T, H * R], [T, H]; o in fp8 as its E5M6 copy
};

struct GqaForwardArgs {
  MlaContext context;
  GqaWeights weights;
  ConstTensor x;          ///< [T, D] f32, after the layer's norm
  ConstTensor positions;  ///< [T] i32
  int64_t sequence_rows;  ///< S: T / S sequences from position 0 on
  Tensor y;               ///< out: [T, D]
};

/// Memory comes from `scratch`. Precisions are those of MLA's projections; nothing in here is
/// computed again in backward.
GqaSaved gqa_forward(Queue& queue, Scratch& scratch, const GqaForwardArgs& args);

/// Gradients that the weights' backward reads: of the projections' outputs.
struct GqaDeltas {
  Tensor dq, dk, dv;
};

struct GqaBackwardArgs {
  MlaContext context;
  GqaWeights weights;
  ConstTensor x;          ///< [T, D], as in forward
  ConstTensor positions;  ///< [T] i32
  int64_t sequence_rows;
  ConstTensor dy;         ///< [T, D]
  Tensor dx;              ///< out: [T, D]: the part through q, then k's and v's added
};

GqaDeltas gqa_backward_inputs(Queue& queue, Scratch& scratch, const GqaBackwardArgs& args,
                              const GqaSaved& saved);
void gqa_backward_weights(Queue& queue, Scratch& scratch, const GqaBackwardArgs& args,
                          const GqaSaved& saved, const GqaDeltas& deltas,
                          const GqaGradients& gradients);

struct GqaCachedArgs {
  MlaContext context;
  GqaWeights weights;
  ConstTensor x;          ///< [T, D]
  ConstTensor positions;  ///< [T] i32, those that follow each cache's length
  std::vector<CachedSequence> sequences;  ///< in the order of their rows
  Tensor y;               ///< out: [T, D]
};

/// Prefill and decode over caches: a row has the bits that training forward gives it, however the
/// sequence is cut into calls (law 1).
void gqa_cached(Queue& queue, Scratch& scratch, const GqaCachedArgs& args);

}  // namespace troupe::kernels
