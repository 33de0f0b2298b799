#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/warp.cuh"
#include "kernels/cuda/sm90/weigh_rows.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

struct Weigh {
  Rows<const uint16_t> dy;
  const int32_t* index;  ///< or null
  int64_t table_rows;
  Rows<const uint16_t> y;
  const float* weights;
  Rows<uint16_t> dy_weighted;  ///< or null
  float* dweights;
  int64_t R;
  int D;
};

/// A warp a row.
template <bool kVector>
__global__ void weigh_kernel(const Weigh args, Fault* fault) {
  const int64_t r = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (r >= args.R) return;
  int64_t from = r;
  if (args.index != nullptr) {
    from = args.index[r];
    if (!is_within(fault, FaultName::gather_rows, r, from, 0, args.table_rows - 1)) return;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float weight = args.weights[r];
  float sum = 0.0f;
  for (int first = lane * neighbours; first < args.D; first += 32 * neighbours) {
    const int n = min(neighbours, args.D - first);
    float d[neighbours], v[neighbours];
    load_row<kVector>(args.dy[from] + first, n, d);
    load_row<kVector>(args.y[r] + first, n, v);
#pragma unroll
    for (int i = 0; i < neighbours; ++i) {
      sum = __fmaf_rn(d[i], v[i], sum);
      d[i] = __fmul_rn(weight, d[i]);
    }
    if (args.dy_weighted.data != nullptr) store_row<kVector>(args.dy_weighted[r] + first, n, d);
  }
  sum = sum_of_lanes(sum, 32);
  if (lane == 0) args.dweights[r] = sum;
}

}  // namespace

void weigh_rows(Queue& queue, const WeighRowsArgs& args) {
  const OperatorLabel label("weigh_rows");
  const int64_t R = args.y.rows(), D = args.y.cols();
  const bool has_index = args.index.data != nullptr, stores = args.dy_weighted.data != nullptr;
  expect_shape("weigh_rows dy", args.dy, DType::bf16, {has_index ? args.dy.rows() : R, D});
  expect_shape("weigh_rows y", args.y, DType::bf16, {R, D});
  expect_shape("weigh_rows weights", args.weights, DType::f32, {R});
  if (has_index) expect_shape("weigh_rows index", args.index, DType::i32, {R});
  if (stores) expect_shape("weigh_rows dy_weighted", args.dy_weighted, DType::bf16, {R, D});
  expect_shape("weigh_rows dweights", args.dweights, DType::f32, {R});
  const Weigh its{
      .dy = rows_of<uint16_t>("weigh_rows dy", args.dy),
      .index = has_index ? rows_of<int32_t>("weigh_rows index", args.index).data : nullptr,
      .table_rows = args.dy.rows(),
      .y = rows_of<uint16_t>("weigh_rows y", args.y),
      .weights = rows_of<float>("weigh_rows weights", args.weights).data,
      .dy_weighted = stores ? rows_of<uint16_t>("weigh_rows dy_weighted", args.dy_weighted)
                            : Rows<uint16_t>{nullptr, 0},
      .dweights = rows_of<float>("weigh_rows dweights", args.dweights).data,
      .R = R,
      .D = static_cast<int>(D)};
  if (R == 0) return;
  const bool in_eights =
      are_in_eights({args.dy, args.y, stores ? ConstTensor(args.dy_weighted) : args.y});
  enqueue(queue, "weigh_rows", [=](CUstream_st* stream, Fault* fault) {
    const auto kernel = in_eights ? weigh_kernel<true> : weigh_kernel<false>;
    kernel<<<blocks_for(R, 8), 256, 0, stream>>>(its, fault);
  });
}

}  // namespace troupe::kernels::cuda
