#include <string>
#include <utility>

#include "kernels/cuda/device/bf16_pair.cuh"
#include "kernels/cuda/gemm/gemm_bf16_wgmma.h"
#include "kernels/cuda/gemm/products.cuh"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

int64_t padded(int64_t n) { return up_to(n, 8); }

/// Eight numbers a thread; those behind the last of a row are 0.
template <class T>
__global__ void pack_kernel(Rows<const T> x, uint16_t* y, int64_t D, int64_t eights, int64_t count,
                            bool is_aligned) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  const int64_t row = i / eights, first = i % eights * 8;
  const T* const from = x[row] + first;
  uint4 out;
  if constexpr (std::is_same_v<T, float>) {
    if (is_aligned) {
      const float4 a = *reinterpret_cast<const float4*>(from);
      const float4 b = *reinterpret_cast<const float4*>(from + 4);
      out = make_uint4(bf16_pair(a.x, a.y), bf16_pair(a.z, a.w), bf16_pair(b.x, b.y), bf16_pair(b.z, b.w));
    } else {
      float v[8];
      for (int j = 0; j < 8; ++j) v[j] = first + j < D ? from[j] : 0.0f;
      out = make_uint4(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]),
                       bf16_pair(v[6], v[7]));
    }
  } else {
    uint32_t v[8];
    for (int j = 0; j < 8; ++j) v[j] = first + j < D ? from[j] : 0;
    out = make_uint4(v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
  }
  *reinterpret_cast<uint4*>(y + i * 8) = out;
}

/// What packs x to `to`, rows of `width` numbers.
template <class T>
auto packing(const ConstTensor& x, uint16_t* to, int64_t width) {
  const auto from = rows_of<T>("bf16_operand x", x);
  const int64_t D = x.cols(), eights = width / 8, count = x.rows() * eights;
  const bool aligned = D == width && x.row_stride % 4 == 0 && is_aligned(x.data, 16);
  return [=](CUstream_st* stream, Fault*) {
    if (count == 0) return;
    pack_kernel<T><<<blocks_for(count, 256), 256, 0, stream>>>(from, to, D, eights, count, aligned);
  };
}

void pack(Queue& queue, const ConstTensor& x, uint16_t* to) {
  pack_to(queue, x, to, padded(x.cols()));
}

/// Matrix [rows, cols] whose rows are padded(cols) apart.
Tensor packed_place(const Tensor& memory, int64_t first_row, int64_t rows, int64_t cols) {
  return columns(row_range(memory, first_row, rows), 0, cols);
}

StridedBf16 strided(const char* what, const ConstTensor& x) {
  expect_reachable(what, x, Device::cuda);
  if (!is_bf16_operand(x)) {
    throw KernelError(std::string(what) + " is " + describe(x) + " with rows " +
                      std::to_string(x.row_stride) +
                      " apart, wanted bf16 in rows of a multiple of 8, from 16 bytes on");
  }
  return {values<uint16_t>(x), x.row_stride};
}

void launch_rows(Queue& queue, RowsBf16WgmmaArgs args) {
  enqueue(queue, "multiply_bf16",
          [args = std::move(args)](CUstream_st* stream, Fault*) { rows_bf16_wgmma(args, stream); });
}

/// Columns that a result is written in.
int64_t result_width(const Tensor& c) { return c.dtype == DType::bf16 ? 8 : 2; }

}  // namespace

void pack_to(Queue& queue, const ConstTensor& x, uint16_t* to, int64_t width) {
  const OperatorLabel label("bf16_operand");
  if (x.dtype == DType::bf16) {
    return enqueue(queue, "bf16_operand", packing<uint16_t>(x, to, width));
  }
  expect_shape("bf16_operand x", x, DType::f32, {x.rows(), x.cols()});
  enqueue(queue, "bf16_operand", packing<float>(x, to, width));
}

Tensor bf16_place(Scratch& scratch, int64_t rows, int64_t cols) {
  return packed_place(scratch.of(DType::bf16, {rows, padded(cols)}), 0, rows, cols);
}

void pack_bf16(Queue& queue, const ConstTensor& x, const Tensor& y) {
  expect_shape("pack_bf16 y", y, DType::bf16, {x.rows(), x.cols()});
  pack(queue, x, const_cast<uint16_t*>(strided("pack_bf16 y", y).data));
}

void pack_now(const ConstTensor& x, const Tensor& y) {
  use_gpu();
  expect_shape("pack_now x", x, DType::f32, {x.rows(), x.cols()});
  expect_shape("pack_now y", y, DType::bf16, {x.rows(), x.cols()});
  packing<float>(x, const_cast<uint16_t*>(strided("pack_now y", y).data),
                 padded(x.cols()))(cudaStreamPerThread, nullptr);
  check(cudaStreamSynchronize(cudaStreamPerThread), "pack_now");
}

ConstTensor bf16_operand(Queue& queue, Scratch& scratch, const ConstTensor& x) {
  if (is_bf16_operand(x)) return x;
  const Tensor to = bf16_place(scratch, x.rows(), x.cols());
  pack_bf16(queue, x, to);
  return to;
}

std::vector<ConstTensor> bf16_operands(Queue& queue, Scratch& scratch,
                                       const std::vector<ConstTensor>& matrices,
                                       const std::vector<int64_t>& offsets) {
  bool are_operands = true;
  for (const ConstTensor& m : matrices) are_operands = are_operands && is_bf16_operand(m);
  if (are_operands) return matrices;
  const int64_t N = matrices[0].rows(), K = matrices[0].cols();
  const auto G = static_cast<int64_t>(matrices.size());
  const Tensor all = scratch.of(DType::bf16, {G * N, padded(K)});
  std::vector<ConstTensor> out;
  for (int64_t g = 0; g < G; ++g) {
    const auto at = static_cast<size_t>(g);
    const Tensor to = packed_place(all, g * N, N, K);
    // A weight that no row meets is not read: it needs a place, no numbers.
    if (offsets[at] < offsets[at + 1]) pack(queue, matrices[at], values<uint16_t>(to));
    out.push_back(to);
  }
  return out;
}

void multiply_bf16(Queue& queue, Scratch& scratch, const MultiplyBf16Args& args) {
  const OperatorLabel label("multiply_bf16");
  const int64_t R = args.a.rows(), K = args.a.cols(), N = args.c.cols();
  if (R == 0 || args.b.empty()) return;
  for (const ConstTensor& b : args.b) {
    expect_shape("multiply_bf16 b", b, DType::bf16,
                 {args.transpose_b ? N : K, args.transpose_b ? K : N});
  }
  expect_shape("multiply_bf16 c", args.c, args.c.dtype, {R, N});
  expect_reachable("multiply_bf16 c", args.c, Device::cuda);
  Tensor c = args.c;
  if (!fits_as_result(c, result_width(c))) c = scratch.of(c.dtype, {R, padded(N)});
  RowsBf16WgmmaArgs product{.a = strided("multiply_bf16 a", args.a),
                            .b = strided("multiply_bf16 b", args.b[0]),
                            .transpose_b = args.transpose_b,
                            .b_group_rows = rows_between(args.b),
                            .offsets = args.offsets,
                            .result = c.dtype == DType::bf16 ? ProductResult::bf16
                                      : args.rounds          ? ProductResult::f32_of_bf16
                                                             : ProductResult::f32,
                            .c = c.data,
                            .c_stride = c.row_stride,
                            .N = N,
                            .K = K};
  const bool is_one_launch =
      args.b.size() == 1 || (product.b_group_rows >= 0 && (args.transpose_b || K % 64 == 0));
  if (is_one_launch) {
    launch_rows(queue, std::move(product));
  } else {
    for (size_t g = 0; g < args.b.size(); ++g) {
      if (args.offsets[g] == args.offsets[g + 1]) continue;
      product.b = strided("multiply_bf16 b", args.b[g]);
      product.b_group_rows = args.b[g].rows();
      product.offsets = {args.offsets[g], args.offsets[g + 1]};
      launch_rows(queue, product);
    }
  }
  if (c.data != args.c.data) kernels::copy(queue, {.x = columns(c, 0, N), .y = args.c});
}

void add_weights_bf16(Queue& queue, Scratch& scratch, const MultiplyWeightsBf16Args& args) {
  const OperatorLabel label("add_weights_bf16");
  const int64_t R = args.a.rows(), M = args.a.cols(), N = args.b.cols();
  if (args.into.empty()) return;
  expect_shape("add_weights_bf16 b", args.b, DType::bf16, {R, N});
  const UnitsOfGroups units(queue, scratch, "add_weights_bf16", args.into, args.offsets, M, N,
                            padded(N));
  if (R == 0) return;
  WeightsBf16WgmmaArgs product{
      .a = strided("add_weights_bf16 a", args.a),
      .b = strided("add_weights_bf16 b", args.b),
      .R = R,
      .offsets = args.offsets,
      .result = units.are_direct() ? ProductResult::fixed_point : ProductResult::f32,
      .c = units.results(),
      .c_stride = units.are_direct() ? N : padded(N),
      .M = M,
      .N = N,
      .fixed = units.rule()};
  enqueue(queue, "add_weights_bf16", [product = std::move(product)](CUstream_st* stream, Fault*) {
    weights_bf16_wgmma(product, stream);
  });
  units.finish();
}

void add_parts(Queue& queue, const ConstTensor& parts, const Tensor& sum) {
  const OperatorLabel label("add_parts");
  const int64_t n = parts.rows(), count = parts.cols();
  expect_shape("add_parts parts", parts, DType::f32, {n, count});
  if (sum.count() != count) {
    throw KernelError("add_parts sum is " + describe(sum) + ", wanted " + std::to_string(count) +
                      " elements");
  }
  const auto from = rows_of<float>("add_parts parts", parts);
  float* const to = rows_of<float>("add_parts sum", sum).data;
  for_each(queue, "add_parts", count, [=] __device__(int64_t i) {
    float total = 0.0f;
#pragma unroll 8
    for (int64_t part = 0; part < n; ++part) total = __fadd_rn(total, from[part][i]);
    to[i] = total;
  });
}

}  // namespace troupe::kernels::cuda
