#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/sm90/cross_entropy_rows.cuh"
#include "kernels/cuda/sm90/head_sm90.h"
#include "kernels/cuda/sm90/launch_sm90.h"

namespace troupe::kernels::cuda {
namespace {

#define TROUPE_SCALAR __device__ inline
#include "kernels/math/scalar_math.inl"
#undef TROUPE_SCALAR

/// Writes a row's loss. In f64, so that it and log_sum are rounded once.
struct WriteLoss {
  Rows<const float> logits;
  const int32_t* targets;
  float *losses, *log_sums;
  int V;
  Fault* fault;

  __device__ void operator()(int64_t t, float most, float sum) const {
    const int64_t target = targets[t];
    if (!is_within(fault, FaultName::cross_entropy, t, target, -1, V - 1)) return;
    const double log_sum = __dadd_rn(static_cast<double>(most), log_of(static_cast<double>(sum)));
    log_sums[t] = __double2float_rn(log_sum);
    losses[t] =
        target < 0 ? 0.0f : __double2float_rn(__dsub_rn(log_sum, static_cast<double>(logits[t][target])));
  }
};

__device__ inline float greater(float a, float b) { return a > b ? a : b; }

/// Of all threads of the block, by a tree; every thread gets it.
template <class F>
__device__ float reduce(float value, float nothing, F both, float (&of_warps)[row_lanes / 32]) {
  for (int width = 16; width > 0; width /= 2) {
    value = both(value, __shfl_down_sync(0xffffffffu, value, width));
  }
  __syncthreads();  // what was there has been read
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
  __syncthreads();
  value = threadIdx.x % 32 < row_lanes / 32 ? of_warps[threadIdx.x % 32] : nothing;
  for (int width = row_lanes / 64; width > 0; width /= 2) {
    value = both(value, __shfl_down_sync(0xffffffffu, value, width));
  }
  return __shfl_sync(0xffffffffu, value, 0);
}

/// A block a row, which it reads twice: for rows of any length and place.
template <bool kVector>
__global__ void __launch_bounds__(row_lanes) rows_kernel(const WriteLoss finish) {
  __shared__ float of_warps[row_lanes / 32];
  const int64_t t = blockIdx.x;
  const int V = finish.V;
  const float* const row = finish.logits[t];
  const float lowest = -std::numeric_limits<float>::infinity();
  const auto for_eights = [&](auto f) {
    for (int first = static_cast<int>(threadIdx.x) * neighbours; first < V; first += row_span) {
      float x[neighbours];
      const int n = min(neighbours, V - first);
      load_row<kVector>(row + first, n, x);
      f(x, n);
    }
  };
  float most = lowest, sum = 0.0f;
  for_eights([&](const float(&x)[neighbours], int n) {
#pragma unroll
    for (int i = 0; i < neighbours; ++i) most = i < n ? greater(most, x[i]) : most;
  });
  most = reduce(most, lowest, greater, of_warps);
  for_eights([&](const float(&x)[neighbours], int n) {
#pragma unroll
    for (int i = 0; i < neighbours; ++i) {
      if (i < n) sum = __fadd_rn(sum, exp(set1(x[i]) - set1(most)).v);
    }
  });
  sum = reduce(
      sum, 0.0f, [](float a, float b) { return __fadd_rn(a, b); }, of_warps);
  if (threadIdx.x == 0) finish(t, most, sum);
}

/// False: rows are too long for so many blocks.
template <int kBlocks>
bool launch_kept(int64_t T, const WriteLoss& finish, cudaStream_t stream) {
  using Part = RowPart<kBlocks>;
  if (finish.V > Part::most_columns) return false;
  const auto kernel = kept_rows_kernel<kBlocks, WriteLoss>;
  constexpr int threads = Part::threads + 32;
  const int64_t clusters = std::min<int64_t>(T, clusters_at_once("cross_entropy", kernel, threads, Part::bytes, kBlocks));
  launch("cross_entropy", kernel, dim3(static_cast<unsigned>(kBlocks * clusters)), threads, Part::bytes, kBlocks, stream,
         finish.logits, T, finish.V, finish);
  return true;
}

void launch_rows(int64_t T, bool in_eights, const WriteLoss& finish, cudaStream_t stream) {
  if (in_eights && (launch_kept<2>(T, finish, stream) || launch_kept<4>(T, finish, stream) ||
                    launch_kept<8>(T, finish, stream))) {
    return;
  }
  const auto kernel = in_eights ? rows_kernel<true> : rows_kernel<false>;
  kernel<<<static_cast<unsigned>(T), row_lanes, 0, stream>>>(finish);
}

}  // namespace

void cross_entropy_sm90(Queue& queue, const CrossEntropyArgs& args) {
  const int64_t T = args.logits.rows();
  WriteLoss finish{rows_of<float>("cross_entropy logits", args.logits), nullptr,
                   rows_of<float>("cross_entropy losses", args.losses).data,
                   rows_of<float>("cross_entropy log_sums", args.log_sums).data,
                   static_cast<int>(args.logits.cols()), nullptr};
  rows_of<int32_t>("cross_entropy targets", args.targets);
  if (T == 0) return;
  const bool in_eights = are_in_eights({args.logits});
  enqueue(queue, "cross_entropy",
          [=, table = NearTable(args.targets)](CUstream_st* stream, Fault* fault) {
            WriteLoss its = finish;
            its.targets = table.bring(stream);
            its.fault = fault;
            launch_rows(T, in_eights, its, stream);
          });
}

}  // namespace troupe::kernels::cuda
