// Gated feed-forward networks of a layer with experts, in fp8 on tensor cores: every operand is
// quantized where it is made, and what is kept for backward are codes. The bits of ffn.h.
// Source: DeepSeek-V3 report, arXiv:2412.19437, sections 3.3.2 and 3.3.3.
#pragma once

#include <vector>

#include "kernels/cuda/gemm/products_fp8.h"
#include "kernels/layers/ffn.h"

namespace troupe::kernels {

/// How rows that are dispatched to experts are scaled, and the gradients that come back.
constexpr cuda::Fp8Scaling dispatched_activations{.power_of_two = true, .least_amax = least_activation};
constexpr cuda::Fp8Scaling dispatched_gradients{.power_of_two = true, .least_amax = least_gradient};

/// Whether networks are computed so: in fp8 on tensor cores, of a layer with experts, where D is a
/// multiple of 16 and F of 128, so that no tile has parts of gate and of up.
bool goes_in_codes(const Queue& queue, const FfnOptions& options, const FfnWeights& weights);

/// Weights for forward and backward, of all groups: made once where several units read them.
struct FfnCodesWeights {
  cuda::Fp8BothWays both;  // gate, and up behind it
  cuda::Fp8BothWays down;
};
FfnCodesWeights quantize_weights(Queue& queue, Scratch& scratch, const std::vector<FfnWeights>& weights);

struct FfnCodesArgs {
  Precision precision;              ///< fp8 or fp8_unpromoted
  std::vector<FfnWeights> weights;  ///< one network a group
  cuda::Fp8Groups groups;
  const FfnCodesWeights* codes = nullptr;  ///< of the weights; null: made as they are needed
};

/// x [R, D] with the scaling of dispatched activations; y [R, D] is written. The answer is what
/// backward reads: gate and up side by side, in `scratch`.
cuda::Fp8Rows ffn_codes_forward(Queue& queue, Scratch& scratch, const FfnCodesArgs& args,
                                const cuda::Fp8Rows& x, const Tensor& y);

/// dy [R, D] with the scaling of dispatched gradients; dx [R, D] is written. The answer has no
/// dy_codes: these are the caller's.
FfnDeltas ffn_codes_backward_inputs(Queue& queue, Scratch& scratch, const FfnCodesArgs& args,
                                    const cuda::Fp8Rows& kept, const cuda::Fp8Rows& dy,
                                    const Tensor& dx);

/// Groups without rows add nothing. Of the deltas the codes are read.
void ffn_codes_backward_weights(Queue& queue, const FfnCodesArgs& args, const cuda::Fp8Columns& x,
                                const FfnDeltas& deltas,
                                const std::vector<FfnGradients>& gradients);

/// On tensor cores gate and up are one product: [2 F, D] of each group, the rows of up behind those
/// of gate; and the matrices down. In bf16; a group without rows has none.
std::vector<ConstTensor> gates_and_ups(Queue& queue, Scratch& scratch,
                                       const std::vector<FfnWeights>& weights,
                                       const std::vector<int64_t>& offsets);
std::vector<ConstTensor> downs(Queue& queue, Scratch& scratch,
                               const std::vector<FfnWeights>& weights,
                               const std::vector<int64_t>& offsets);

}  // namespace troupe::kernels
