#include "kernels/layers/linear.h"

#include <string>
#include <utility>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/cuda/gemm/products_fp8.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/gemm_fp8.h"
#include "kernels/ops/permute.h"
#include "kernels/ops/rounding.h"

namespace troupe::kernels {

const char* to_string(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return "FP32";
    case Precision::bf16:
      return "BF16";
    case Precision::fp8:
      return "FP8";
    default:
      return "FP8 without promotion";
  }
}

bool is_of_tensor_cores(const Queue& queue, Precision precision) {
  return queue.arithmetic() == Arithmetic::sm_90a && precision != Precision::fp32;
}

namespace {

constexpr int64_t tile = 128;

/// What sums the products of codes, and how often it is promoted.
struct Summing {
  Accumulator accumulator = Accumulator::f32;
  int64_t promote_every = tile;
};
Summing summing_of(Precision precision) {
  if (precision == Precision::fp8_unpromoted) return {Accumulator::narrow, 0};
  return {};
}

/// An operand of a product in FP8.
struct Codes {
  Tensor values;
  Tensor scales;
};

/// Who rounds the operands of a product in BF16: on the CPU the product, as it reads them.
Operands operands_bf16(const Queue& queue) {
  return queue.is_cuda() ? Operands::numbers : Operands::rounded_to_bf16;
}

/// x as such a product takes it.
ConstTensor operand_bf16(Queue& queue, Scratch& scratch, const ConstTensor& x) {
  if (operands_bf16(queue) == Operands::rounded_to_bf16) return x;
  const Tensor y = scratch.f32({x.rows(), x.cols()});
  round_bf16(queue, {.x = x, .y = y});
  return y;
}

/// A quantization to E4M3.
struct Tiling {
  int64_t rows, cols;
  Scales scales = Scales::any;
  float least_amax = least_activation;
  std::vector<int64_t> offsets = {};  ///< where tiles begin anew; empty: nowhere
};

/// Memory for the codes of x.
Codes allocate_codes(Scratch& scratch, const ConstTensor& x, const Tiling& tiling) {
  const int64_t down = tiling.offsets.empty() ? tiles_over(x.rows(), tiling.rows)
                                              : tiles_of_groups(tiling.offsets, tiling.rows);
  return {scratch.f32({x.rows(), x.cols()}), scratch.f32({down, tiles_over(x.cols(), tiling.cols)})};
}

Codes codes_of(Queue& queue, Scratch& scratch, const ConstTensor& x, Tiling tiling) {
  const Codes codes = allocate_codes(scratch, x, tiling);
  quantize_tiles(queue, {.x = x, .format = TileFormat::e4m3, .tile_rows = tiling.rows,
                         .tile_cols = tiling.cols,
                         .power_of_two = tiling.scales == Scales::powers_of_two,
                         .codes = codes.values, .scales = codes.scales,
                         .offsets = std::move(tiling.offsets), .least_amax = tiling.least_amax});
  return codes;
}

/// Rows of every group times its weight, transposed (forward) or as stored (backward).
struct GroupedProduct {
  Precision precision;
  Scales scales;
  float least_amax;
  ConstTensor x;
  std::vector<ConstTensor> weights;
  bool transposed;
  std::vector<int64_t> offsets;
  Tensor y;
};

void multiply_fp8(Queue& queue, Scratch& scratch, GroupedProduct p) {
  const Codes x = codes_of(queue, scratch, p.x, {1, tile, p.scales, p.least_amax});
  std::vector<ConstTensor> codes, scales;
  for (size_t g = 0; g < p.weights.size(); ++g) {
    // A weight that no row meets is not read: it needs a place, no codes.
    const bool has_rows = p.offsets[g] < p.offsets[g + 1];
    const Codes weight = has_rows ? codes_of(queue, scratch, p.weights[g], {tile, tile})
                                  : allocate_codes(scratch, p.weights[g], {tile, tile});
    codes.push_back(weight.values);
    scales.push_back(weight.scales);
  }
  const Summing summing = summing_of(p.precision);
  grouped_gemm_fp8(queue, {.a = x.values, .a_scales = x.scales, .b = std::move(codes),
                           .b_scales = std::move(scales), .transpose_b = p.transposed,
                           .offsets = std::move(p.offsets), .c = p.y,
                           .accumulator = summing.accumulator,
                           .promote_every = summing.promote_every});
}

void multiply_bf16(Queue& queue, Scratch& scratch, GroupedProduct p) {
  std::vector<ConstTensor> weights;
  for (const ConstTensor& w : p.weights) weights.push_back(operand_bf16(queue, scratch, w));
  grouped_gemm(queue, {.a = operand_bf16(queue, scratch, p.x), .b = std::move(weights),
                       .transpose_b = p.transposed, .offsets = std::move(p.offsets), .c = p.y,
                       .operands = operands_bf16(queue)});
}

cuda::Fp8Scaling scaling(Scales scales, float least_amax) {
  return {scales == Scales::powers_of_two, least_amax};
}

void multiply_on_tensor_cores(Queue& queue, Scratch& scratch, const GroupedProduct& p) {
  if (is_fp8(p.precision)) {
    return cuda::multiply_fp8(queue, scratch,
                              {.a = p.x, .a_scaling = scaling(p.scales, p.least_amax),
                               .b = {p.weights, scaling(Scales::any, least_activation), p.transposed},
                               .offsets = p.offsets, .c = p.y,
                               .promotes = p.precision == Precision::fp8});
  }
  cuda::multiply_bf16(queue, scratch,
                      {.a = cuda::bf16_operand(queue, scratch, p.x),
                       .b = cuda::bf16_operands(queue, scratch, p.weights, p.offsets),
                       .transpose_b = p.transposed, .offsets = p.offsets, .rounds = true,
                       .c = p.y});
}

/// What linear layers give in bf16 and fp8 is BF16.
void multiply(Queue& queue, GroupedProduct p) {
  if (p.x.rows() == 0) return;
  PassingScratch passing(queue);
  if (is_of_tensor_cores(queue, p.precision)) return multiply_on_tensor_cores(queue, *passing, p);
  const Tensor y = p.y;
  if (is_fp8(p.precision)) {
    multiply_fp8(queue, *passing, std::move(p));
  } else {
    multiply_bf16(queue, *passing, std::move(p));
  }
  round_bf16(queue, {.x = y, .y = y});
}

/// Each group's dy^T x; a weight's gradient stays FP32.
void multiply_columns(Queue& queue, const GroupedLinearBackwardWeightsArgs& args,
                      const std::vector<Tensor>& units) {
  PassingScratch passing(queue);
  if (args.precision == Precision::fp32) {
    grouped_gemm_weights(queue, {.a = args.dy, .b = args.x, .offsets = args.offsets, .c = units});
  } else if (args.precision == Precision::bf16) {
    grouped_gemm_weights(queue, {.a = operand_bf16(queue, *passing, args.dy),
                                 .b = operand_bf16(queue, *passing, args.x),
                                 .offsets = args.offsets, .c = units,
                                 .operands = operands_bf16(queue)});
  } else {
    // Tiles begin anew with each group.
    const Codes dy = codes_of(queue, *passing, args.dy,
                              {tile, 1, args.dy_scales, least_gradient, args.offsets});
    const Codes x = codes_of(queue, *passing, args.x,
                             {tile, 1, args.x_scales, least_activation, args.offsets});
    const Summing summing = summing_of(args.precision);
    grouped_gemm_weights_fp8(queue, {.a = dy.values, .a_scales = dy.scales, .b = x.values,
                                     .b_scales = x.scales, .offsets = args.offsets, .c = units,
                                     .accumulator = summing.accumulator,
                                     .promote_every = summing.promote_every});
  }
}

}  // namespace

void linear_forward(Queue& queue, const LinearArgs& args) {
  if (args.precision != Precision::fp32) {
    return multiply(queue, {.precision = args.precision, .scales = args.scales,
                            .least_amax = least_activation, .x = args.x, .weights = {args.weight},
                            .transposed = true, .offsets = {0, args.x.rows()}, .y = args.y});
  }
  gemm(queue, {.a = args.x, .b = args.weight, .transpose_a = false, .transpose_b = true,
               .c = args.y, .add_to_c = false});
}

void linear_backward_inputs(Queue& queue, const LinearBackwardInputsArgs& args) {
  if (args.precision != Precision::fp32) {
    PassingScratch passing(queue);
    const Tensor dx =
        args.add_to_dx ? passing->f32({args.dx.rows(), args.dx.cols()}) : args.dx;
    multiply(queue, {.precision = args.precision, .scales = Scales::any,
                     .least_amax = least_gradient, .x = args.dy, .weights = {args.weight},
                     .transposed = false, .offsets = {0, args.dy.rows()}, .y = dx});
    if (args.add_to_dx) add(queue, {.a = args.dx, .b = dx, .y = args.dx});
    return;
  }
  gemm(queue, {.a = args.dy, .b = args.weight, .transpose_a = false, .transpose_b = false,
               .c = args.dx, .add_to_c = args.add_to_dx});
}

void linear_backward_weights(Queue& queue, Scratch& scratch,
                             const LinearBackwardWeightsArgs& args) {
  if (!args.into.is_wanted()) return;
  if (args.precision != Precision::fp32) {
    return grouped_linear_backward_weights(
        queue, scratch, {.precision = args.precision, .dy_scales = Scales::any,
                         .x_scales = args.scales, .dy = args.dy, .x = args.x,
                         .offsets = {0, args.dy.rows()}, .into = {args.into}});
  }
  const Tensor unit = scratch.f32({args.dy.cols(), args.x.cols()});
  gemm(queue, {.a = args.dy, .b = args.x, .transpose_a = true, .transpose_b = false, .c = unit,
               .add_to_c = false});
  add_unit(queue, args.into, unit);
}

void grouped_linear_forward(Queue& queue, const GroupedLinearArgs& args) {
  if (args.precision != Precision::fp32) {
    return multiply(queue, {.precision = args.precision, .scales = args.scales,
                            .least_amax = least_activation, .x = args.x, .weights = args.weights,
                            .transposed = true, .offsets = args.offsets, .y = args.y});
  }
  grouped_gemm(queue, {.a = args.x, .b = args.weights, .transpose_b = true,
                       .offsets = args.offsets, .c = args.y});
}

void grouped_linear_backward_inputs(Queue& queue, const GroupedLinearBackwardInputsArgs& args) {
  if (args.precision != Precision::fp32) {
    return multiply(queue, {.precision = args.precision, .scales = args.scales,
                            .least_amax = least_gradient, .x = args.dy, .weights = args.weights,
                            .transposed = false, .offsets = args.offsets, .y = args.dx});
  }
  grouped_gemm(queue, {.a = args.dy, .b = args.weights, .transpose_b = false,
                       .offsets = args.offsets, .c = args.dx});
}

void grouped_linear_backward_weights(Queue& queue, Scratch& scratch,
                                     const GroupedLinearBackwardWeightsArgs& args) {
  if (args.into.empty() || !args.into[0].is_wanted()) return;
  const bool can_share = is_fp8(args.precision) && is_of_tensor_cores(queue, args.precision);
  if (!can_share && args.into.size() + 1 != args.offsets.size()) {
    throw KernelError("grouped_linear_backward_weights has " + std::to_string(args.into.size()) +
                      " sums, wanted one for each of " + std::to_string(args.offsets.size() - 1) +
                      " groups");
  }
  if (is_of_tensor_cores(queue, args.precision)) {
    PassingScratch passing(queue);
    if (is_fp8(args.precision)) {
      return cuda::add_weights_fp8(
          queue, *passing,
          {.a = args.dy, .a_scaling = scaling(args.dy_scales, least_gradient), .b = args.x,
           .b_scaling = scaling(args.x_scales, least_activation), .offsets = args.offsets,
           .into = args.into, .promotes = args.precision == Precision::fp8});
    }
    return cuda::add_weights_bf16(queue, *passing,
                                  {.a = cuda::bf16_operand(queue, *passing, args.dy),
                                   .b = cuda::bf16_operand(queue, *passing, args.x),
                                   .offsets = args.offsets, .into = args.into});
  }
  std::vector<Tensor> units;
  for (size_t g = 0; g < args.into.size(); ++g) {
    units.push_back(scratch.f32({args.dy.cols(), args.x.cols()}));
  }
  multiply_columns(queue, args, units);
  for (size_t g = 0; g < args.into.size(); ++g) {
    const bool has_rows = args.offsets[g] < args.offsets[g + 1];
    has_rows ? add_unit(queue, args.into[g], units[g]) : add_empty_unit(queue, args.into[g]);
  }
}

}  // namespace troupe::kernels
