#include "kernels/cuda/gemm/products_fp8.h"

#include <cuda_fp8.h>

#include <algorithm>
#include <utility>

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"
#include "kernels/cuda/gemm/products.cuh"
#include "kernels/cuda/sm90/quantize_sm90.h"
#include "kernels/ops/rounding.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int64_t tile = 128;

int64_t tiles(int64_t n) { return tiles_over(n, tile); }

/// What a quantizer reads: bf16 in whole sixteens of columns, of which those behind the last of x
/// are 0.
ConstTensor source_of(Queue& queue, Scratch& scratch, const ConstTensor& x) {
  if (is_bf16_operand(x) && x.cols() % 16 == 0) return x;
  const Tensor to = scratch.of(DType::bf16, {x.rows(), up_to(x.cols(), 16)});
  pack_to(queue, x, values<uint16_t>(to), to.cols());
  return to;
}

uint8_t* codes_of(const Tensor& t) { return static_cast<uint8_t*>(t.data); }

Tensor codes_place(Scratch& scratch, int64_t rows, int64_t cols) {
  return scratch.of(DType::f8_e4m3, {rows, cols});
}

/// A table that kernels of a queue read many times: near them.
const int32_t* table_of(Queue& queue, Scratch& scratch, const std::vector<int32_t>& numbers) {
  const auto count = static_cast<int64_t>(numbers.size());
  const Tensor near = scratch.of(DType::i32, {count});
  int32_t* const to = values<int32_t>(near);
  enqueue(queue, "fp8_table", [=, list = SharedList<int32_t>(numbers)](CUstream_st* stream, Fault*) {
    check(cudaMemcpyAsync(to, list.data(), static_cast<size_t>(count) * sizeof(int32_t),
                          cudaMemcpyDefault, stream),
          "fp8_table");
  });
  return to;
}

Fp8Rows quantize_rows(Queue& queue, Scratch& scratch, const ConstTensor& x,
                      const Fp8Scaling& scaling) {
  const int64_t R = x.rows(), K = x.cols();
  const Fp8Rows rows{codes_place(scratch, R, K), scratch.f32({tiles(K), up_to(R, 4)})};
  const QuantizeSm90Args args{.x = values<uint16_t>(x),
                              .x_stride = x.row_stride,
                              .M = R,
                              .K = K,
                              .power_of_two = scaling.power_of_two,
                              .least_amax = scaling.least_amax,
                              .rows = codes_of(rows.codes),
                              .row_scales = values<float>(rows.scales),
                              .row_scales_stride = rows.scales.cols(),
                              .columns = nullptr,
                              .column_scales = nullptr,
                              .column_scales_stride = 0,
                              .groups = 1,
                              .row_offsets = nullptr,
                              .block_offsets = nullptr,
                              .blocks = 0};
  enqueue(queue, "quantize_fp8",
          [args](CUstream_st* stream, Fault*) { quantize_sm90(args, stream); });
  return rows;
}

/// Matrices as a product reads them: [N, K] each, N and K up to multiples of 16, one behind the
/// other.
struct Blocks {
  Tensor codes;
  Tensor scales;  ///< [groups tiles over N, tiles over K up to a multiple of 4]
  int64_t N, K;
};

/// A place for the codes of `groups` matrices, and how to quantize those from `g` on.
class BlockPlaces {
 public:
  /// Stored matrices have `rows` and `cols`, already in sixteens; `turned`: they are [K, N].
  BlockPlaces(Scratch& scratch, int64_t groups, int64_t rows, int64_t cols, bool turned)
      : rows_(rows), turned_(turned) {
    out_.N = turned ? cols : up_to(rows, 16);
    out_.K = turned ? up_to(rows, 16) : cols;
    out_.codes = codes_place(scratch, groups * out_.N, out_.K);
    out_.scales = scratch.f32({groups * tiles(out_.N), up_to(tiles(out_.K), 4)});
  }
  const Blocks& blocks() const { return out_; }

  void quantize(Queue& queue, const ConstTensor& w, int64_t g, int64_t count,
                const Fp8Scaling& scaling) const {
    uint8_t* const codes = codes_of(out_.codes) + g * out_.N * out_.K;
    float* const scales = values<float>(out_.scales) + g * tiles(out_.N) * out_.scales.cols();
    const int64_t stride = out_.scales.cols();
    const QuantizeBlocksSm90Args args{.w = values<uint16_t>(w),
                                      .w_stride = w.row_stride,
                                      .groups = static_cast<int>(count),
                                      .N = rows_,
                                      .K = w.cols(),
                                      .power_of_two = scaling.power_of_two,
                                      .least_amax = scaling.least_amax,
                                      .codes = turned_ ? nullptr : codes,
                                      .scales = turned_ ? nullptr : scales,
                                      .scales_stride = stride,
                                      .transposed = turned_ ? codes : nullptr,
                                      .transposed_scales = turned_ ? scales : nullptr,
                                      .transposed_scales_stride = stride};
    enqueue(queue, "quantize_fp8_blocks",
            [args](CUstream_st* stream, Fault*) { quantize_blocks_sm90(args, stream); });
  }

 private:
  int64_t rows_;
  bool turned_;
  Blocks out_;
};

Blocks quantize_blocks(Queue& queue, Scratch& scratch, const MultiplyFp8Args& args) {
  const auto groups = static_cast<int64_t>(args.b.size());
  const int64_t rows = args.b[0].rows(), cols = args.b[0].cols();
  const BlockPlaces places(scratch, groups, rows, up_to(cols, 16), !args.transpose_b);
  const auto can_be_read = [](const ConstTensor& b) {
    return is_bf16_operand(b) && b.cols() % 16 == 0;
  };
  // Those without rows may not be there to be read.
  const bool have_rows = std::adjacent_find(args.offsets.begin(), args.offsets.end()) ==
                         args.offsets.end();
  if (groups > 1 && have_rows && rows % tile == 0 && std::all_of(args.b.begin(), args.b.end(), can_be_read) &&
      rows_between(args.b) == rows) {
    places.quantize(queue, args.b[0], 0, groups, args.b_scaling);
    return places.blocks();
  }
  for (int64_t g = 0; g < groups; ++g) {
    const auto at = static_cast<size_t>(g);
    if (args.offsets[at] == args.offsets[at + 1]) continue;
    places.quantize(queue, source_of(queue, scratch, args.b[at]), g, 1, args.b_scaling);
  }
  return places.blocks();
}

std::vector<int32_t> in_int32(const std::vector<int64_t>& numbers) {
  std::vector<int32_t> out;
  for (const int64_t n : numbers) out.push_back(static_cast<int32_t>(n));
  return out;
}

void launch_product(Queue& queue, Scratch& scratch, const Fp8Rows& a, const Blocks& b,
                    const std::vector<int64_t>& offsets, const Tensor& c) {
  const bool is_grouped = offsets.size() > 2;
  const int32_t* const table = is_grouped ? table_of(queue, scratch, in_int32(offsets)) : nullptr;
  const int64_t bytes = gemm_fp8_workspace_bytes(b.K);
  const GroupedGemmFp8WgmmaArgs args{
      .a = codes_of(a.codes),
      .a_scales = values<float>(a.scales),
      .a_scales_stride = a.scales.cols(),
      .b = codes_of(b.codes),
      .b_scales = values<float>(b.scales),
      .b_scales_stride = b.scales.cols(),
      .result = c.dtype == DType::bf16 ? ProductResult::bf16 : ProductResult::f32_of_bf16,
      .c = c.data,
      .c_stride = c.row_stride,
      .R = a.codes.rows(),
      .N = b.N,
      .K = b.K,
      .groups = static_cast<int>(offsets.size()) - 1,
      .row_begin = table,
      .row_end = is_grouped ? table + 1 : nullptr,
      .workspace = bytes > 0 ? scratch.of(DType::f8_e4m3, {bytes}).data : nullptr};
  enqueue(queue, "multiply_fp8",
          [args](CUstream_st* stream, Fault*) { grouped_gemm_fp8_wgmma(args, stream); });
}

/// Rows of the batch as the inner dimension of a product.
struct Columns {
  Tensor codes;   ///< [D, 128 blocks]
  Tensor scales;  ///< [blocks, D]
};

/// Where groups begin: in rows, and in blocks of 128 that begin anew with each.
struct GroupTables {
  const int32_t *rows, *blocks;
  int64_t groups, blocks_in_all;
};

Columns quantize_columns(Queue& queue, Scratch& scratch, const ConstTensor& x,
                         const Fp8Scaling& scaling, const GroupTables& tables) {
  const ConstTensor source = source_of(queue, scratch, x);
  const int64_t D = source.cols();
  const Columns out{codes_place(scratch, D, tile * tables.blocks_in_all),
                    scratch.f32({tables.blocks_in_all, D})};
  const QuantizeSm90Args args{.x = values<uint16_t>(source),
                              .x_stride = source.row_stride,
                              .M = source.rows(),
                              .K = D,
                              .power_of_two = scaling.power_of_two,
                              .least_amax = scaling.least_amax,
                              .rows = nullptr,
                              .row_scales = nullptr,
                              .row_scales_stride = 0,
                              .columns = codes_of(out.codes),
                              .column_scales = values<float>(out.scales),
                              .column_scales_stride = D,
                              .groups = static_cast<int>(tables.groups),
                              .row_offsets = tables.rows,
                              .block_offsets = tables.blocks,
                              .blocks = tables.blocks_in_all};
  enqueue(queue, "quantize_fp8",
          [args](CUstream_st* stream, Fault*) { quantize_sm90(args, stream); });
  return out;
}

/// Two neighbouring codes of a row of tiles as bfloat16.
__device__ uint32_t decoded_pair(uint32_t codes, float scale) {
  const __half2_raw halves =
      __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), __NV_E4M3);
  const float2 v = __half22float2(__half2(halves));
  const __nv_bfloat162 pair =
      __floats2bfloat162_rn(__fmul_rn(v.x, scale), __fmul_rn(v.y, scale));
  return *reinterpret_cast<const uint32_t*>(&pair);
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

void multiply_fp8(Queue& queue, Scratch& scratch, const MultiplyFp8Args& args) {
  const OperatorLabel label("multiply_fp8");
  const int64_t R = args.a.rows(), K = args.a.cols(), N = args.c.cols();
  if (R == 0 || args.b.empty()) return;
  for (const ConstTensor& b : args.b) {
    expect_shape("multiply_fp8 b", b, b.dtype,
                 {args.transpose_b ? N : K, args.transpose_b ? K : N});
  }
  expect_shape("multiply_fp8 c", args.c, args.c.dtype, {R, N});
  expect_reachable("multiply_fp8 c", args.c, Device::cuda);
  const Blocks b = quantize_blocks(queue, scratch, args);
  const Fp8Rows a =
      quantize_rows(queue, scratch, source_of(queue, scratch, args.a), args.a_scaling);
  const bool is_direct = b.N == N && fits_as_result(args.c, args.c.dtype == DType::bf16 ? 8 : 4);
  const Tensor c = is_direct ? args.c : scratch.of(args.c.dtype, {R, b.N});
  launch_product(queue, scratch, a, b, args.offsets, c);
  if (!is_direct) kernels::copy(queue, {.x = columns(c, 0, N), .y = args.c});
}

void add_weights_fp8(Queue& queue, Scratch& scratch, const MultiplyWeightsFp8Args& args) {
  const OperatorLabel label("add_weights_fp8");
  const int64_t R = args.a.rows(), M = args.a.cols(), N = args.b.cols();
  if (args.into.empty()) return;
  expect_shape("add_weights_fp8 b", args.b, args.b.dtype, {R, N});
  const int64_t width = up_to(N, 2);
  const auto groups = static_cast<int64_t>(args.offsets.size()) - 1;
  const int64_t parts = groups > 0 ? static_cast<int64_t>(args.into.size()) / groups : 0;
  if (parts < 1 || parts * groups != static_cast<int64_t>(args.into.size()) || M % parts != 0 ||
      (parts > 1 && M / parts % tile != 0)) {
    throw KernelError("add_weights_fp8 has " + std::to_string(args.into.size()) + " sums for " +
                      std::to_string(groups) + " groups of " + std::to_string(M) +
                      " columns, wanted as many for each group, of a multiple of 128 columns");
  }
  std::vector<int64_t> offsets{0};  // of the sums' rows, one behind the other
  for (size_t i = 0; i < args.into.size(); ++i) {
    const size_t g = i / static_cast<size_t>(parts);
    offsets.push_back(offsets.back() + args.offsets[g + 1] - args.offsets[g]);
  }
  const UnitsOfGroups units(queue, scratch, "add_weights_fp8", args.into, offsets, M / parts, N,
                            width);
  if (R == 0) return;
  std::vector<int32_t> blocks{0};
  for (size_t g = 0; g + 1 < args.offsets.size(); ++g) {
    const auto its = static_cast<int32_t>(tiles(args.offsets[g + 1] - args.offsets[g]));
    blocks.push_back(blocks.back() + its);
  }
  const GroupTables tables{table_of(queue, scratch, in_int32(args.offsets)),
                           table_of(queue, scratch, blocks),
                           groups, blocks.back()};
  const Columns a = quantize_columns(queue, scratch, args.a, args.a_scaling, tables);
  const Columns b = quantize_columns(queue, scratch, args.b, args.b_scaling, tables);
  GroupedWeightsFp8WgmmaArgs product{
      .a = codes_of(a.codes),
      .a_scales = values<float>(a.scales),
      .a_scales_stride = a.scales.cols(),
      .b = codes_of(b.codes),
      .b_scales = values<float>(b.scales),
      .b_scales_stride = b.scales.cols(),
      .M = M,
      .N = width,
      .R = tile * tables.blocks_in_all,
      .groups = static_cast<int>(tables.groups),
      .block_offsets = tables.blocks,
      .c = units.are_direct() ? nullptr : static_cast<float*>(units.results()[0]),
      .sums = nullptr,
      .parts = static_cast<int>(parts),
      .fixed = units.rule()};
  std::vector<int64_t*> sums;
  for (void* const result : units.results()) sums.push_back(static_cast<int64_t*>(result));
  const Tensor near = scratch.of(DType::i64, {static_cast<int64_t>(sums.size())});
  if (units.are_direct()) product.sums = reinterpret_cast<int64_t* const*>(near.data);
  enqueue(queue, "add_weights_fp8",
          [product, to = near.data, list = SharedList<int64_t*>(sums),
           bytes = sums.size() * sizeof(int64_t*)](CUstream_st* stream, Fault*) {
            check(cudaMemcpyAsync(to, list.data(), bytes, cudaMemcpyDefault, stream),
                  "add_weights_fp8");
            grouped_weights_fp8_wgmma(product, stream);
          });
  units.finish();
}

Fp8Rows keep_fp8(Queue& queue, Scratch& scratch, const ConstTensor& x, const Fp8Scaling& scaling) {
  const OperatorLabel label("keep_fp8");
  expect_shape("keep_fp8 x", x, DType::bf16, {x.rows(), up_to(x.cols(), 16)});
  expect_reachable("keep_fp8 x", x, Device::cuda);
  if (x.rows() == 0) return {codes_place(scratch, 0, x.cols()), scratch.f32({tiles(x.cols()), 0})};
  return quantize_rows(queue, scratch, x, scaling);
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
  const uint8_t* const codes = codes_of(rows.codes);
  const float* const scales = values<float>(rows.scales);
  const int64_t stride = rows.scales.cols(), count = R * D / 16;
  enqueue(queue, "read_fp8", [=](CUstream_st* stream, Fault*) {
    read_kernel<<<blocks_for(count, 256), 256, 0, stream>>>(codes, scales, stride, to, count,
                                                            static_cast<int>(D / 16));
  });
}

}  // namespace troupe::kernels::cuda
