#include "kernels/cuda/gemm/operands_fp8.h"

#include "kernels/cuda/device/bf16_pair.cuh"
#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/gemm/products.cuh"
#include "kernels/cuda/sm90/quantize_sm90.h"
#include "kernels/cuda/sm90/swiglu_codes_sm90.h"
#include "kernels/ops/rounding.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int64_t tile = 128;

int64_t tiles(int64_t n) { return tiles_over(n, tile); }

Fp8Rows rows_place(Scratch& scratch, int64_t R, int64_t D) {
  return {scratch.of(DType::f8_e4m3, {R, D}), scratch.f32({tiles(D), up_to(R, 4)})};
}

Fp8Columns columns_place(Scratch& scratch, int64_t D, const Fp8Groups& groups) {
  return {scratch.of(DType::f8_e4m3, {D, tile * groups.blocks_in_all}),
          scratch.f32({groups.blocks_in_all, D})};
}

RowCodes row_codes(const Fp8Rows& rows) {
  return {values<uint8_t>(rows.codes), values<float>(rows.scales), rows.scales.cols()};
}
ColumnCodes column_codes(const Fp8Columns& columns) {
  return {values<uint8_t>(columns.codes), values<float>(columns.scales)};
}

/// Of rows alone, in one group.
QuantizeSm90Args args_of(const ConstTensor& x, int64_t R, const Fp8Scaling& scaling) {
  return {.x = values<uint16_t>(x),
          .x_stride = x.row_stride,
          .M = R,
          .K = x.cols(),
          .power_of_two = scaling.power_of_two,
          .least_amax = scaling.least_amax};
}

void set_rows(QuantizeSm90Args& args, const Fp8Rows& rows) {
  args.rows = values<uint8_t>(rows.codes);
  args.row_scales = values<float>(rows.scales);
  args.row_scales_stride = rows.scales.cols();
}

void set_columns(QuantizeSm90Args& args, const Fp8Columns& columns, const Fp8Groups& groups) {
  args.columns = values<uint8_t>(columns.codes);
  args.column_scales = values<float>(columns.scales);
  args.column_scales_stride = columns.scales.cols();
  args.groups = static_cast<int>(groups.count());
  args.row_offsets = groups.rows;
  args.block_offsets = groups.blocks;
  args.blocks = groups.blocks_in_all;
}

void enqueue_quantize(Queue& queue, const QuantizeSm90Args& args) {
  enqueue(queue, "quantize_fp8",
          [args](CUstream_st* stream, Fault*) { quantize_sm90(args, stream); });
}

void expect_operand(const char* what, const ConstTensor& x) {
  expect_shape(what, x, DType::bf16, {x.rows(), up_to(x.cols(), 16)});
  expect_reachable(what, x, Device::cuda);
  if (is_bf16_operand(x)) return;
  throw KernelError(std::string(what) + " is " + describe(x) + " with rows " +
                    std::to_string(x.row_stride) +
                    " apart, wanted rows of a multiple of 8, from 16 bytes on");
}

/// Rows of `args` from a table.
void set_table(QuantizeSm90Args& args, const TableRows& x, int64_t R, bool weighs) {
  expect_shape("fp8 index", x.index, DType::i32, {R});
  args.index = values<int32_t>(x.index);
  args.table_rows = x.table.rows();
  if (!weighs) return;
  expect_shape("fp8 weights", x.weights, DType::f32, {R});
  args.weights = values<float>(x.weights);
}

/// Rows and columns of what `args` read: rows in `passing`, columns in `kept`.
std::pair<Fp8Rows, Fp8Columns> enqueue_both(Queue& queue, Scratch& kept, Scratch& passing, QuantizeSm90Args args,
                                            const Fp8Groups& groups) {
  const Fp8Rows rows = rows_place(passing, args.M, args.K);
  const Fp8Columns columns = columns_place(kept, args.K, groups);
  if (args.M == 0) return {rows, columns};
  set_rows(args, rows);
  set_columns(args, columns, groups);
  enqueue_quantize(queue, args);
  return {rows, columns};
}

/// A warp a row, its scales by the first lanes.
__global__ void gather_codes_kernel(const uint8_t* codes, const float* scales,
                                    int64_t scales_stride, const int32_t* index, int64_t T,
                                    int64_t R, int sixteens, int tiles_of_row, uint8_t* to,
                                    float* to_scales, int64_t to_stride, Fault* fault) {
  const int64_t r = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (r >= R) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t from = index[r];
  if (!is_within(fault, FaultName::gather_rows, r, from, 0, T - 1)) return;
  const auto* const in = reinterpret_cast<const uint4*>(codes) + from * sixteens;
  auto* const out = reinterpret_cast<uint4*>(to) + r * sixteens;
  constexpr int ahead = 4;
  for (int first = lane; first < sixteens; first += 32 * ahead) {
    uint4 v[ahead];
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      if (first + 32 * j < sixteens) v[j] = __ldg(in + first + 32 * j);
    }
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      if (first + 32 * j < sixteens) out[first + 32 * j] = v[j];
    }
  }
  for (int t = lane; t < tiles_of_row; t += 32) {
    to_scales[t * to_stride + r] = scales[t * scales_stride + from];
  }
}

/// Sixteen columns a thread.
__global__ void read_kernel(const uint8_t* codes, const float* scales, int64_t scales_stride,
                            Rows<uint16_t> y, int64_t count, int sixteens) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  const int64_t row = i / sixteens;
  const int col = static_cast<int>(i % sixteens) * 16;
  const uint4 in = *reinterpret_cast<const uint4*>(codes + i * 16);
  const float scale = scales[col / 128 * scales_stride + row];
  const uint32_t words[4] = {in.x, in.y, in.z, in.w};
  uint32_t out[8];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    out[2 * j] = decoded_pair(words[j] & 0xffff, scale);
    out[2 * j + 1] = decoded_pair(words[j] >> 16, scale);
  }
  auto* const to = reinterpret_cast<uint4*>(y[row] + col);
  to[0] = make_uint4(out[0], out[1], out[2], out[3]);
  to[1] = make_uint4(out[4], out[5], out[6], out[7]);
}

}  // namespace

Fp8Groups fp8_groups(Queue& queue, Scratch& scratch, std::vector<int64_t> offsets) {
  Fp8Groups groups{std::move(offsets), nullptr, nullptr, 0};
  std::vector<int32_t> tables;
  for (const int64_t row : groups.offsets) tables.push_back(static_cast<int32_t>(row));
  for (size_t g = 0; g < groups.offsets.size(); ++g) {
    if (g > 0) groups.blocks_in_all += tiles(groups.offsets[g] - groups.offsets[g - 1]);
    tables.push_back(static_cast<int32_t>(groups.blocks_in_all));
  }
  const auto count = static_cast<int64_t>(tables.size());
  const Tensor near = scratch.of(DType::i32, {count});
  int32_t* const to = values<int32_t>(near);
  enqueue(queue, "fp8_groups", [=, list = SharedList<int32_t>(tables)](CUstream_st* stream, Fault*) {
    check(cudaMemcpyAsync(to, list.data(), static_cast<size_t>(count) * sizeof(int32_t),
                          cudaMemcpyDefault, stream),
          "fp8_groups");
  });
  groups.rows = to;
  groups.blocks = to + groups.offsets.size();
  return groups;
}

Fp8Rows quantize_rows(Queue& queue, Scratch& scratch, const ConstTensor& x,
                      const Fp8Scaling& scaling) {
  const OperatorLabel label("quantize_rows");
  const Fp8Rows rows = rows_place(scratch, x.rows(), x.cols());
  if (x.rows() == 0) return rows;
  expect_operand("quantize_rows x", x);
  QuantizeSm90Args args = args_of(x, x.rows(), scaling);
  set_rows(args, rows);
  enqueue_quantize(queue, args);
  return rows;
}

Fp8Columns quantize_columns(Queue& queue, Scratch& scratch, const ConstTensor& x,
                            const Fp8Scaling& scaling, const Fp8Groups& groups) {
  const OperatorLabel label("quantize_columns");
  const Fp8Columns columns = columns_place(scratch, x.cols(), groups);
  if (groups.offsets.back() == 0) return columns;
  expect_operand("quantize_columns x", x);
  QuantizeSm90Args args = args_of(x, groups.offsets.back(), scaling);
  set_columns(args, columns, groups);
  enqueue_quantize(queue, args);
  return columns;
}

std::pair<Fp8Rows, Fp8Columns> quantize_both(Queue& queue, Scratch& kept, Scratch& passing,
                                             const ConstTensor& x, const Fp8Scaling& scaling,
                                             const Fp8Groups& groups) {
  const OperatorLabel label("quantize_both");
  if (groups.offsets.back() > 0) expect_operand("quantize_both x", x);
  return enqueue_both(queue, kept, passing, args_of(x, groups.offsets.back(), scaling), groups);
}

Fp8Rows gather_codes(Queue& queue, Scratch& scratch, const Fp8Rows& of, const ConstTensor& index) {
  const OperatorLabel label("gather_codes");
  const int64_t R = index.count(), D = of.codes.cols(), T = of.codes.rows();
  const Fp8Rows rows = rows_place(scratch, R, D);
  expect_shape("gather_codes index", index, DType::i32, {R});
  if (R == 0) return rows;
  const RowCodes from = row_codes(of), to = row_codes(rows);
  const auto* const at = rows_of<int32_t>("gather_codes index", index).data;
  enqueue(queue, "gather_codes", [=](CUstream_st* stream, Fault* fault) {
    gather_codes_kernel<<<blocks_for(R, 8), 256, 0, stream>>>(
        from.codes, from.scales, from.scales_stride, at, T, R, static_cast<int>(D / 16),
        static_cast<int>(tiles(D)), to.codes, to.scales, to.scales_stride, fault);
  });
  return rows;
}

Fp8Columns quantize_columns(Queue& queue, Scratch& scratch, const TableRows& x,
                            const Fp8Scaling& scaling, const Fp8Groups& groups) {
  const OperatorLabel label("quantize_columns");
  const int64_t R = groups.offsets.back();
  const Fp8Columns columns = columns_place(scratch, x.table.cols(), groups);
  if (R == 0) return columns;
  expect_operand("quantize_columns table", x.table);
  QuantizeSm90Args args = args_of(x.table, R, scaling);
  set_columns(args, columns, groups);
  set_table(args, x, R, false);
  enqueue_quantize(queue, args);
  return columns;
}

std::pair<Fp8Rows, Fp8Columns> quantize_weighed(Queue& queue, Scratch& kept, Scratch& passing,
                                                const TableRows& x, const Fp8Scaling& scaling,
                                                const Fp8Groups& groups) {
  const OperatorLabel label("quantize_weighed");
  const int64_t R = groups.offsets.back();
  QuantizeSm90Args args = args_of(x.table, R, scaling);
  if (R > 0) {
    expect_operand("quantize_weighed table", x.table);
    set_table(args, x, R, true);
  }
  return enqueue_both(queue, kept, passing, args, groups);
}

SwigluCodes swiglu_codes(Queue& queue, Scratch& kept, Scratch& passing, const ConstTensor& both,
                         const Fp8Scaling& scaling) {
  const OperatorLabel label("swiglu_codes");
  const int64_t R = both.rows(), F = both.cols() / 2;
  const SwigluCodes out{rows_place(kept, R, 2 * F), rows_place(passing, R, F)};
  if (R == 0) return out;
  expect_operand("swiglu_codes both", both);
  expect_shape("swiglu_codes both", both, DType::bf16, {R, both.row_stride});
  const SwigluCodesSm90Args args{.both = values<uint16_t>(both),
                                 .R = R,
                                 .F = F,
                                 .least_amax = scaling.least_amax,
                                 .kept = row_codes(out.kept),
                                 .activated = row_codes(out.activated)};
  enqueue(queue, "swiglu_codes",
          [args](CUstream_st* stream, Fault*) { swiglu_codes_sm90(args, stream); });
  return out;
}

SwigluBackwardCodes swiglu_backward_codes(Queue& queue, Scratch& kept, Scratch& passing,
                                          const Fp8Rows& both, const ConstTensor& dactivated,
                                          const Fp8Scaling& activations,
                                          const Fp8Scaling& gradients, const Fp8Groups& groups) {
  const OperatorLabel label("swiglu_backward_codes");
  const int64_t R = dactivated.rows(), F = dactivated.cols();
  const SwigluBackwardCodes out{rows_place(passing, R, 2 * F), columns_place(kept, 2 * F, groups),
                                columns_place(kept, F, groups)};
  if (R == 0) return out;
  expect_shape("swiglu_backward_codes kept", both.codes, DType::f8_e4m3, {R, 2 * F});
  expect_shape("swiglu_backward_codes dactivated", dactivated, DType::bf16, {R, dactivated.row_stride});
  const SwigluBackwardCodesSm90Args args{.dactivated = values<uint16_t>(dactivated),
                                         .kept = row_codes(both),
                                         .R = R,
                                         .F = F,
                                         .least_amax = activations.least_amax,
                                         .least_gradient = gradients.least_amax,
                                         .activated = column_codes(out.activated),
                                         .rows = row_codes(out.rows),
                                         .columns = column_codes(out.columns),
                                         .groups = static_cast<int>(groups.count()),
                                         .row_offsets = groups.rows,
                                         .block_offsets = groups.blocks,
                                         .blocks = groups.blocks_in_all};
  enqueue(queue, "swiglu_backward_codes",
          [args](CUstream_st* stream, Fault*) { swiglu_backward_codes_sm90(args, stream); });
  return out;
}

void read_fp8(Queue& queue, const Fp8Rows& rows, const Tensor& y) {
  const OperatorLabel label("read_fp8");
  const int64_t R = y.rows(), D = y.cols();
  expect_shape("read_fp8 y", y, DType::bf16, {rows.codes.rows(), rows.codes.cols()});
  if (!is_bf16_operand(y)) {
    throw KernelError("read_fp8 y is " + describe(y) + " with rows " + std::to_string(y.row_stride) +
                      " apart, wanted rows of a multiple of 8, from 16 bytes on");
  }
  if (R == 0) return;
  const auto to = rows_of<uint16_t>("read_fp8 y", y);
  const uint8_t* const codes = values<uint8_t>(rows.codes);
  const float* const scales = values<float>(rows.scales);
  const int64_t stride = rows.scales.cols(), count = R * D / 16;
  enqueue(queue, "read_fp8", [=](CUstream_st* stream, Fault*) {
    read_kernel<<<blocks_for(count, 256), 256, 0, stream>>>(codes, scales, stride, to, count,
                                                            static_cast<int>(D / 16));
  });
}

}  // namespace troupe::kernels::cuda
