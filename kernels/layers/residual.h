// The residual stream's joints: a norm before each sub-layer and the sum behind it.
#pragma once

#include "kernels/layers/attention/gqa.h"
#include "kernels/layers/attention/mla.h"
#include "kernels/layers/gradient.h"

namespace troupe::kernels {

/// A norm on its own: the one before a sub-layer, or the final one.
struct NormSaved {
  Tensor y;            // [T, D]
  Tensor inverse_rms;  // [T]
};
NormSaved norm_forward(Queue& queue, Scratch& scratch, const ConstTensor& x,
                       const ConstTensor& weight, float eps);
void norm_backward_weights(Queue& queue, Scratch& scratch, const ConstTensor& dy,
                           const ConstTensor& x, const NormSaved& saved, const GradientSum& into,
                           const ConstTensor& dy_more = {});

/// A layer has MLA or GQA, as the shape says; the other's tensors are unused.
template <class Tensor>
struct AttentionTensors {
  Tensor input_norm;  ///< [D]
  MlaTensors<Tensor> mla = {};
  GqaTensors<Tensor> gqa = {};
};
using AttentionWeights = AttentionTensors<ConstTensor>;
using AttentionGradients = AttentionTensors<GradientSum>;

struct AttentionBlockArgs {
  MlaContext context;
  AttentionWeights weights;
  ConstTensor x;          ///< [T, D], the residual stream
  ConstTensor positions;  ///< [T] i32
  int64_t sequence_rows;
};

struct AttentionBlockSaved {
  NormSaved norm;    // nothing, if it is computed again
  MlaSaved mla;
  MlaDeltas deltas;  // after backward for inputs
  GqaSaved gqa;
  GqaDeltas gqa_deltas;  // likewise
  Tensor dnormed;        // likewise
  Tensor dnormed_more;   // likewise, of MLA on tensor cores: what is to be added to dnormed
};

/// y = x + attention(norm(x)).
AttentionBlockSaved attention_block_forward(Queue& queue, Scratch& scratch,
                                            const AttentionBlockArgs& args, const Tensor& y);
/// dx = dy + norm'(attention'(dy)); fills the deltas of `saved`.
void attention_block_backward_inputs(Queue& queue, Scratch& scratch,
                                     const AttentionBlockArgs& args, AttentionBlockSaved& saved,
                                     const ConstTensor& dy, const Tensor& dx);
void attention_block_backward_weights(Queue& queue, Scratch& scratch,
                                      const AttentionBlockArgs& args,
                                      const AttentionBlockSaved& saved, const ConstTensor& dy,
                                      const AttentionGradients& gradients);

/// The same over caches: y = x + attention(norm(x)). GQA has the expanded form alone: throws
/// KernelError if the absorbed one is asked of it.
struct CachedBlockArgs {
  MlaContext context;
  AttentionWeights weights;
  AttentionForm form;
  ConstTensor x;
  ConstTensor positions;
  std::vector<CachedSequence> sequences;
};
void attention_block_cached(Queue& queue, Scratch& scratch, const CachedBlockArgs& args,
                            const Tensor& y);

}  // namespace troupe::kernels
