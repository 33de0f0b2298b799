// Linear layers under the precisions of a recipe: report section 3.3 and its table of which
// tensors are FP8, BF16 and FP32. Embedding, head, gate, norms and the attention operator are not
// linear layers in this sense: they compute in FP32 in every recipe.
#pragma once

#include <vector>

#include "kernels/layers/gradient.h"

namespace troupe::kernels {

/// fp32: operands and results as they are.
/// bf16: operands rounded to BF16, products summed in FP32, results rounded to BF16; weights'
/// gradients stay FP32. In the arithmetic sm_90a by the tensor cores, where every tensor may be f32
/// or bf16.
/// fp8: operands quantized to E4M3 by tiles: activations and their gradients 1 x 128 along a row,
/// weights 128 x 128, both operands of a weight's gradient 128 x 1 along the rows of the unit;
/// products of 128 are summed from zero, then scaled and added in FP32; results as in bf16. In the
/// arithmetic sm_90a by the tensor cores, as bf16; operands are rounded to BF16 before.
/// fp8_unpromoted: fp8, to be compared with it: one sum over all of an inner dimension in the tensor
/// cores' accumulator of 14 bits. In the arithmetic cpu that is emulated (gemm_fp8.h), on the CPU alone.
enum class Precision : uint8_t { fp32, bf16, fp8, fp8_unpromoted };
const char* to_string(Precision precision);
/// Whether operands are quantized to E4M3.
constexpr bool is_fp8(Precision precision) {
  return precision == Precision::fp8 || precision == Precision::fp8_unpromoted;
}

/// How the scales of the activations' tiles are made; fp8 alone. The report has powers of two for
/// the input of the projection after attention and for what experts receive and give back.
enum class Scales : uint8_t { any, powers_of_two };

/// The least greatest value of a tile that scales are made for, in fp8. Gradients are divided by the
/// step's tokens: the release's 1e-4, meant for activations, would round them away.
constexpr float least_activation = 1e-4f;
constexpr float least_gradient = 0x1p-100f;

/// Whether the products are the tensor cores' of the arithmetic sm_90a.
bool is_of_tensor_cores(const Queue& queue, Precision precision);

struct LinearArgs {
  Precision precision;
  Scales scales;
  ConstTensor x;       ///< [T, K]
  ConstTensor weight;  ///< [N, K]
  Tensor y;            ///< out: [T, N]
};
/// y = x weight^T (Fprop).
void linear_forward(Queue& queue, const LinearArgs& args);

struct LinearBackwardInputsArgs {
  Precision precision;
  ConstTensor dy;      ///< [T, N]
  ConstTensor weight;  ///< [N, K]
  Tensor dx;           ///< out: [T, K]
  bool add_to_dx;      ///< dx + the result
};
/// dx = dy weight (Dgrad).
void linear_backward_inputs(Queue& queue, const LinearBackwardInputsArgs& args);

struct LinearBackwardWeightsArgs {
  Precision precision;
  Scales scales;      ///< of x, as in forward
  ConstTensor dy;     ///< [T, N]
  ConstTensor x;      ///< [T, K]
  GradientSum into;   ///< [N, K]; nothing happens unless it is wanted
};
/// Adds the unit dy^T x (Wgrad).
void linear_backward_weights(Queue& queue, Scratch& scratch, const LinearBackwardWeightsArgs& args);

/// Rows [offsets[g], offsets[g + 1]) go through weight g: experts. Each row as in `linear_forward`.
struct GroupedLinearArgs {
  Precision precision;
  Scales scales;
  ConstTensor x;
  std::vector<ConstTensor> weights;
  std::vector<int64_t> offsets;
  Tensor y;
};
void grouped_linear_forward(Queue& queue, const GroupedLinearArgs& args);

struct GroupedLinearBackwardInputsArgs {
  Precision precision;
  Scales scales;  ///< of dy
  ConstTensor dy;
  std::vector<ConstTensor> weights;
  std::vector<int64_t> offsets;
  Tensor dx;
};
void grouped_linear_backward_inputs(Queue& queue, const GroupedLinearBackwardInputsArgs& args);

struct GroupedLinearBackwardWeightsArgs {
  Precision precision;
  Scales dy_scales, x_scales;
  ConstTensor dy;
  ConstTensor x;
  std::vector<int64_t> offsets;
  /// One a group. On tensor cores in fp8 several may share x, each with an equal part of dy's
  /// columns, a multiple of 128.
  std::vector<GradientSum> into;
};
/// Groups without rows add nothing.
void grouped_linear_backward_weights(Queue& queue, Scratch& scratch,
                                     const GroupedLinearBackwardWeightsArgs& args);

}  // namespace troupe::kernels
