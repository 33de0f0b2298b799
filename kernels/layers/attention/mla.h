// Multi-head latent attention (MLA): report section 2.1.1, equations 1 to 11; the released
// inference/model.py, class `MLA`.
#pragma once

#include <vector>

#include "kernels/cuda/gemm/operands_fp8.h"
#include "kernels/layers/attention/cache.h"
#include "kernels/layers/linear.h"
#include "kernels/layers/params.h"
#include "kernels/ops/rope.h"

namespace troupe::kernels {

/// Expanded: keys and values of every head are computed from the latent. Absorbed: the query goes
/// through the key's up-projection instead, and heads attend over the latent itself. The two round
/// differently; a recipe names the form.
enum class AttentionForm : uint8_t { expanded, absorbed };

/// What a layer's attention needs besides its weights. T rows, width D, latent C, rotary R.
struct MlaContext {
  const ModelShape* shape;
  const RopeTable* rope;
  float scale;  ///< of the scores
  Precision precision = Precision::fp32;  ///< of the projections
  /// Backward computes norms and up-projections again instead of keeping their results. The same
  /// bits: they are the same operators on the same rows.
  bool recompute = false;
};

/// One tensor an operator uses, as a weight, or (Tensor = GradientSum) as its gradient.
template <class Tensor>
struct MlaTensors {
  Tensor q_a;        ///< [q_lora, D]; unused when q_lora is 0
  Tensor q_a_norm;   ///< [q_lora]; unused when q_lora is 0
  Tensor q_b;        ///< [H * (nope + R), q_lora], or [.., D] when q_lora is 0
  Tensor kv_a;       ///< [C + R, D]
  Tensor kv_a_norm;  ///< [C]
  Tensor kv_b;       ///< [H * (nope + v_head), C]
  Tensor o;          ///< [D, H * v_head]
};
using MlaWeights = MlaTensors<ConstTensor>;
using MlaGradients = MlaTensors<GradientSum>;

/// What follows from the down-projections by norms, rotations and up-projections.
struct MlaUp {
  Tensor q_inverse_rms, q_normed;  // [T], [T, q_lora]
  Tensor kv_inverse_rms;           // [T]
  Tensor latent;                   // [T, C + R] normed c, rotated key: what a cache holds
  Tensor q, k, v;                  // [T, H * (nope + R)] twice, [T, H * v_head]
};

/// What forward computes and backward reads.
struct MlaSaved {
  Tensor q_latent;     // [T, q_lora]
  Tensor kv_down;      // [T, C + R] before norm and rotation
  MlaUp up;            // nothing, if it is computed again
  Tensor o, log_sums;  // [T, H * v_head], [T, H]; o in fp8 as its E5M6 copy
};

struct MlaForwardArgs {
  MlaContext context;
  MlaWeights weights;
  ConstTensor x;           ///< [T, D] f32, after the layer's norm
  ConstTensor positions;   ///< [T] i32
  int64_t sequence_rows;   ///< S: T / S sequences from position 0 on
  Tensor y;                ///< out: [T, D]
};

/// Training forward, expanded form. Memory comes from `scratch`.
MlaSaved mla_forward(Queue& queue, Scratch& scratch, const MlaForwardArgs& args);

/// Gradients that the weights' backward reads.
struct MlaDeltas {
  Tensor dq, dq_normed, dq_latent;   // of q, q_normed, q_latent
  Tensor dkv, dc, dkv_down;          // of the up-projection's output, normed c, kv_down
  ConstTensor dy;                    // as products read it; in sm_90a alone
  // In sm_90a and fp8, instead of dy, dq, dq_latent, dkv and kv_down: what products read of them.
  cuda::Fp8Columns dy_codes, dq_codes, dq_latent_codes, dkv_codes, dkv_down_codes;
  cuda::Fp8Groups groups;
};

struct MlaBackwardArgs {
  MlaContext context;
  MlaWeights weights;
  ConstTensor x;          ///< [T, D], as in forward
  ConstTensor positions;  ///< [T] i32
  int64_t sequence_rows;
  ConstTensor dy;         ///< [T, D]
  Tensor dx;              ///< out: [T, D]
  Tensor dx_more = {};    ///< out: [T, D], on tensor cores: what is to be added to dx
};

/// Fills `saved.up` again, if it is not there.
MlaDeltas mla_backward_inputs(Queue& queue, Scratch& scratch, const MlaBackwardArgs& args,
                              MlaSaved& saved);
void mla_backward_weights(Queue& queue, Scratch& scratch, const MlaBackwardArgs& args,
                          const MlaSaved& saved, const MlaDeltas& deltas,
                          const MlaGradients& gradients);

struct MlaCachedArgs {
  MlaContext context;
  MlaWeights weights;
  AttentionForm form;
  ConstTensor x;          ///< [T, D]
  ConstTensor positions;  ///< [T] i32, those that follow each cache's length
  std::vector<CachedSequence> sequences;  ///< in the order of their rows
  Tensor y;               ///< out: [T, D]
};

/// Prefill and decode over caches. In the expanded form a row has the bits that training forward
/// gives it, however the sequence is cut into calls (law 1).
void mla_cached(Queue& queue, Scratch& scratch, const MlaCachedArgs& args);

}  // namespace troupe::kernels
