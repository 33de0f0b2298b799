#include "kernels/ops/logits.h"

#include <bit>
#include <cmath>

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

#define TROUPE_SCALAR __device__ inline
#include "kernels/math/scalar_math.inl"
#undef TROUPE_SCALAR

__device__ constexpr float lowest = -std::numeric_limits<float>::infinity();

/// By the 16 threads of a row: its greatest number, and the sum of exp(x - greatest).
__device__ float exp_sum(const float* x, int64_t V, int lane, float* greatest) {
  float most = lowest;
  for (int64_t i = lane; i < V; i += 16) most = x[i] > most ? x[i] : most;
  *greatest = greatest_lane(most);
  float sum = 0.0f;
  for (int64_t i = lane; i < V; i += 16) {
    sum = __fadd_rn(sum, exp(set1(x[i]) - set1(*greatest)).v);
  }
  return sum_lanes(sum);
}

/// One warp, whose lanes all add the same: what each has read ahead for the others.
__global__ void sum_losses_kernel(const float* losses, int64_t T, double scale, float* out) {
  const int64_t lane = threadIdx.x;
  const auto read = [&](int64_t t) { return t < T ? losses[t] : 0.0f; };
  double sum = 0;
  float next = read(lane);
  for (int64_t first = 0; first < T; first += 32) {
    const double mine = static_cast<double>(next);
    next = read(first + 32 + lane);
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const double loss = __shfl_sync(~0u, mine, i);
      if (first + i < T) sum = __dadd_rn(sum, loss);
    }
  }
  if (lane == 0) *out = __double2float_rn(__dmul_rn(scale, sum));
}

}  // namespace

void cross_entropy(Queue& queue, const CrossEntropyArgs& args) {
  const int64_t T = args.logits.rows(), V = args.logits.cols();
  const auto logits = rows_of<float>("cross_entropy logits", args.logits);
  const int32_t* const targets = rows_of<int32_t>("cross_entropy targets", args.targets).data;
  float* const losses = rows_of<float>("cross_entropy losses", args.losses).data;
  float* const log_sums = rows_of<float>("cross_entropy log_sums", args.log_sums).data;
  for_each_row(
      queue, "cross_entropy", T, [=] __device__(int64_t t, int lane, bool mine, Fault* fault) {
        const float* const row = logits[t];
        float greatest = 0;
        const float sum = exp_sum(row, V, lane, &greatest);
        const int64_t target = targets[t];
        if (!mine || lane != 0 ||
            !is_within(fault, FaultName::cross_entropy, t, target, -1, V - 1)) {
          return;
        }
        // In f64, so that the loss and log_sum are rounded once.
        const double log_sum =
            __dadd_rn(static_cast<double>(greatest), log_of(static_cast<double>(sum)));
        log_sums[t] = __double2float_rn(log_sum);
        losses[t] = target < 0
                        ? 0.0f
                        : __double2float_rn(__dsub_rn(log_sum, static_cast<double>(row[target])));
      });
}

void cross_entropy_backward(Queue& queue, const CrossEntropyBackwardArgs& args) {
  const int64_t T = args.logits.rows(), V = args.logits.cols();
  const auto logits = rows_of<float>("cross_entropy_backward logits", args.logits);
  const int32_t* const targets =
      rows_of<int32_t>("cross_entropy_backward targets", args.targets).data;
  const float* const log_sums =
      rows_of<float>("cross_entropy_backward log_sums", args.log_sums).data;
  const auto dlogits = rows_of<float>("cross_entropy_backward dlogits", args.dlogits);
  const float factor = args.scale;
  if (T * V == 0) return;
  enqueue(queue, "cross_entropy_backward", [=](CUstream_st* stream, Fault* fault) {
    const auto each = [=] __device__(int64_t at) {
      const int64_t t = at / V, i = at % V;
      const int64_t target = targets[t];
      if (!is_within(fault, FaultName::cross_entropy_backward, t, target, -1, V - 1)) return;
      const F16 scale = set1(factor);
      const F16 share = exp(set1(logits[t][i]) - set1(log_sums[t]));
      dlogits[t][i] = target < 0    ? 0.0f
                      : i == target ? (scale * (share - set1(1.0f))).v
                                    : (scale * share).v;
    };
    each_kernel<<<grid_for(T * V, 256), 256, 0, stream>>>(T * V, each);
  });
}

/// One chain: the order is the rows'.
void sum_losses(Queue& queue, const SumLossesArgs& args) {
  const float* const losses = rows_of<float>("sum_losses losses", args.losses).data;
  float* const sum = rows_of<float>("sum_losses sum", args.sum).data;
  const int64_t T = args.losses.count();
  const double scale = args.scale;
  enqueue(queue, "sum_losses", [=](CUstream_st* stream, Fault*) {
    sum_losses_kernel<<<1, 32, 0, stream>>>(losses, T, scale, sum);
  });
}

}  // namespace troupe::kernels::cuda
