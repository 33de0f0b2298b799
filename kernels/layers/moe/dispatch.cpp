#include "kernels/layers/moe/dispatch.h"

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/ops/pack.h"
#include "kernels/ops/rounding.h"

namespace troupe::kernels {
namespace {

constexpr int64_t tile = 128;

float least_amax_of(Dispatched what) {
  return what == Dispatched::gradients ? least_gradient : least_activation;
}

/// On tensor cores rows are bf16, which has every number of E4M3 times a power of two.
ConstTensor round_to_bf16_rows(Queue& queue, Scratch& scratch, Precision precision, Dispatched what,
                               const ConstTensor& x) {
  if (precision == Precision::bf16 || x.rows() == 0) return cuda::bf16_operand(queue, scratch, x);
  const Tensor y = cuda::bf16_place(scratch, x.rows(), x.cols());
  if (x.dtype == DType::f32) cuda::pack_bf16(queue, x, y);
  round_tiles(queue, {.x = x.dtype == DType::f32 ? ConstTensor(y) : x, .format = TileFormat::e4m3,
                      .tile_rows = 1, .tile_cols = tile, .power_of_two = true, .y = y,
                      .least_amax = least_amax_of(what)});
  return y;
}

}  // namespace

ConstTensor round_dispatched(Queue& queue, Scratch& scratch, Precision precision, Dispatched what,
                             const ConstTensor& x) {
  if (is_of_tensor_cores(queue, precision)) {
    return round_to_bf16_rows(queue, scratch, precision, what, x);
  }
  if (precision == Precision::fp32 || x.rows() == 0) return x;
  const Tensor y = scratch.f32({x.rows(), x.cols()});
  if (precision == Precision::bf16) {
    round_bf16(queue, {.x = x, .y = y});
  } else {
    round_tiles(queue, {.x = x, .format = TileFormat::e4m3, .tile_rows = 1, .tile_cols = tile,
                        .power_of_two = true, .y = y, .least_amax = least_amax_of(what)});
  }
  return y;
}

std::vector<Tensor> pack_dispatched(Queue& queue, Scratch& scratch, Precision precision,
                                    Dispatched what, const Tensor& x) {
  const int64_t R = x.rows(), D = x.cols();
  if (precision == Precision::fp32) return {x};
  if (precision == Precision::bf16) {
    const Tensor packed = scratch.of(DType::bf16, {R, D});
    pack_rows(queue, {.x = x, .y = packed});
    return {packed};
  }
  if (is_of_tensor_cores(queue, precision)) round_bf16(queue, {.x = x, .y = x});
  const Tensor codes = scratch.f32({R, D}), scales = scratch.f32({R, tiles_over(D, tile)});
  const Tensor packed = scratch.of(DType::f8_e4m3, {R, D});
  quantize_tiles(queue, {.x = x, .format = TileFormat::e4m3, .tile_rows = 1, .tile_cols = tile,
                         .power_of_two = true, .codes = codes, .scales = scales,
                         .least_amax = least_amax_of(what)});
  pack_rows(queue, {.x = codes, .y = packed});
  return {packed, scales};
}

size_t tensors_of_dispatched(Precision precision) { return is_fp8(precision) ? 2 : 1; }

int64_t bytes_of_dispatched(Precision precision, int64_t D) {
  if (precision == Precision::fp32) return 4 * D;
  return precision == Precision::bf16 ? 2 * D : D + 4 * tiles_over(D, tile);
}

bool travels_as_it_is(const Queue& queue, Precision precision) {
  return precision == Precision::fp32 ||
         (precision == Precision::bf16 && is_of_tensor_cores(queue, precision));
}

Tensor unpack_dispatched(Queue& queue, Scratch& scratch, Precision precision,
                         const std::vector<ConstTensor>& packed) {
  const ConstTensor& x = packed.at(0);
  const Tensor y = scratch.f32({x.rows(), x.cols()});
  unpack_rows(queue, {.x = x, .scales = packed.size() > 1 ? packed[1] : ConstTensor{}, .tile = tile,
                      .y = y});
  if (!is_of_tensor_cores(queue, precision)) return y;
  const Tensor rows = cuda::bf16_place(scratch, x.rows(), x.cols());
  cuda::pack_bf16(queue, y, rows);
  return rows;
}

Tensor pack_sums(Queue& queue, Scratch& scratch, Precision precision, const Tensor& sums) {
  if (precision == Precision::fp32) return sums;
  const Tensor packed = scratch.of(DType::bf16, {sums.rows(), sums.cols()});
  pack_rows(queue, {.x = sums, .y = packed});
  return packed;
}

ConstTensor unpack_sums(Queue& queue, Scratch& scratch, Precision precision,
                        const ConstTensor& packed) {
  if (precision == Precision::fp32) return packed;
  const Tensor sums = scratch.f32({packed.rows(), packed.cols()});
  unpack_rows(queue, {.x = packed, .scales = {}, .y = sums});
  return sums;
}

}  // namespace troupe::kernels
