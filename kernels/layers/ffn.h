// Gated feed-forward networks: the dense MLP, the shared expert (one group), and routed experts (a
// group each, on the rows dispatched to them). Report equation 12.
#pragma once

#include <vector>

#include "kernels/cuda/gemm/products_fp8.h"
#include "kernels/layers/linear.h"

namespace troupe::kernels {

template <class Tensor>
struct FfnTensors {
  Tensor gate;  ///< [F, D]
  Tensor up;    ///< [F, D]
  Tensor down;  ///< [D, F]
};
using FfnWeights = FfnTensors<ConstTensor>;
using FfnGradients = FfnTensors<GradientSum>;

/// How a network computes, and what it keeps for backward.
struct FfnOptions {
  Precision precision = Precision::fp32;
  /// Of a layer with experts. In fp8 the rows that come, and the gradients that come back, then
  /// have scales that are powers of two, and gate and up are kept in E4M3 (report section 3.3.3).
  bool is_moe = false;
  bool recompute = false;  ///< backward computes `activated` again; the same bits
};

/// In the arithmetic sm_90a x, y, dy and dx may be f32 or bf16, and what is kept is bf16.
struct FfnForwardArgs {
  FfnOptions options = {};
  std::vector<FfnWeights> weights;  ///< one network a group, all of one width F; none: no rows
  std::vector<int64_t> offsets;     ///< rows [offsets[g], offsets[g + 1]) belong to group g
  ConstTensor x;                    ///< [R, D]
  Tensor y;                         ///< out: [R, D]
};

struct FfnSaved {
  Tensor gate, up;      // [R, F]
  Tensor activated;     // [R, F]; no data: computed again from gate and up
  cuda::Fp8Rows codes = {};  // in sm_90a what is kept in E4M3: gate and up side by side
  cuda::Fp8Groups groups = {};  // of networks that go in codes (ffn_codes.h)
};

/// y = down(silu(gate(x)) * up(x)).
FfnSaved ffn_forward(Queue& queue, Scratch& scratch, const FfnForwardArgs& args);

struct FfnBackwardArgs {
  FfnOptions options = {};
  std::vector<FfnWeights> weights;
  std::vector<int64_t> offsets;
  ConstTensor x;   ///< [R, D]
  ConstTensor dy;  ///< [R, D]
  Tensor dx;       ///< out: [R, D]
};

struct FfnDeltas {
  Tensor dgate, dup;  // [R, F]
  Tensor activated;   // [R, F], of codes that were kept; else no data
  ConstTensor dy;     // [R, D], as products read it; in sm_90a alone
  /// Instead of these, of networks that go in codes: turned, gate and up side by side.
  cuda::Fp8Columns both_codes = {}, activated_codes = {}, dy_codes = {};
};

FfnDeltas ffn_backward_inputs(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                              const FfnSaved& saved);
/// Groups without rows add nothing.
void ffn_backward_weights(Queue& queue, Scratch& scratch, const FfnBackwardArgs& args,
                          const FfnSaved& saved, const FfnDeltas& deltas,
                          const std::vector<FfnGradients>& gradients);

}  // namespace troupe::kernels
