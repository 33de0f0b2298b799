#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/sm90/weigh_rows.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

/// A warp a row.
template <bool kVector>
__global__ void weigh_kernel(Rows<const uint16_t> dy, Rows<const uint16_t> y, const float* weights,
                             Rows<uint16_t> dy_weighted, float* dweights, int64_t R, int D) {
  const int64_t r = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (r >= R) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float weight = weights[r];
  float sum = 0.0f;
  for (int first = lane * neighbours; first < D; first += 32 * neighbours) {
    const int n = min(neighbours, D - first);
    float d[neighbours], v[neighbours];
    load_row<kVector>(dy[r] + first, n, d);
    load_row<kVector>(y[r] + first, n, v);
#pragma unroll
    for (int i = 0; i < neighbours; ++i) {
      sum = __fmaf_rn(d[i], v[i], sum);
      d[i] = __fmul_rn(weight, d[i]);
    }
    store_row<kVector>(dy_weighted[r] + first, n, d);
  }
  for (int width = 16; width > 0; width /= 2) {
    sum = __fadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, width));
  }
  if (lane == 0) dweights[r] = sum;
}

}  // namespace

void weigh_rows(Queue& queue, const WeighRowsArgs& args) {
  const OperatorLabel label("weigh_rows");
  const int64_t R = args.dy.rows(), D = args.dy.cols();
  expect_shape("weigh_rows dy", args.dy, DType::bf16, {R, D});
  expect_shape("weigh_rows y", args.y, DType::bf16, {R, D});
  expect_shape("weigh_rows weights", args.weights, DType::f32, {R});
  expect_shape("weigh_rows dy_weighted", args.dy_weighted, DType::bf16, {R, D});
  expect_shape("weigh_rows dweights", args.dweights, DType::f32, {R});
  const auto dy = rows_of<uint16_t>("weigh_rows dy", args.dy);
  const auto y = rows_of<uint16_t>("weigh_rows y", args.y);
  const float* const weights = rows_of<float>("weigh_rows weights", args.weights).data;
  const auto weighted = rows_of<uint16_t>("weigh_rows dy_weighted", args.dy_weighted);
  float* const dweights = rows_of<float>("weigh_rows dweights", args.dweights).data;
  if (R == 0) return;
  const bool in_eights = are_in_eights({args.dy, args.y, args.dy_weighted});
  enqueue(queue, "weigh_rows", [=](CUstream_st* stream, Fault*) {
    const auto kernel = in_eights ? weigh_kernel<true> : weigh_kernel<false>;
    kernel<<<blocks_for(R, 8), 256, 0, stream>>>(dy, y, weights, weighted, dweights, R,
                                                 static_cast<int>(D));
  });
}

}  // namespace troupe::kernels::cuda
