#include "kernels/ops/norm.h"

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {

void rms_norm(Queue& queue, const RmsNormArgs& args) {
  const int64_t T = args.x.rows(), D = args.x.cols();
  const auto xs = rows_of<float>("rms_norm x", args.x);
  const float* const weight = rows_of<float>("rms_norm weight", args.weight).data;
  const auto ys = rows_of<float>("rms_norm y", args.y);
  float* const inverses = rows_of<float>("rms_norm inverse_rms", args.inverse_rms).data;
  const float eps = args.eps;
  for_each_row(queue, "rms_norm", T, [=] __device__(int64_t t, int lane, bool mine, Fault*) {
    const float* const x = xs[t];
    const float mean = __fdiv_rn(dot(x, x, D, lane), static_cast<float>(D));
    const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    if (!mine) return;
    if (lane == 0) inverses[t] = inverse;
    float* const y = ys[t];
    for (int64_t i = lane; i < D; i += 16) y[i] = __fmul_rn(__fmul_rn(x[i], inverse), weight[i]);
  });
}

void rms_norm_backward_inputs(Queue& queue, const RmsNormBackwardArgs& args) {
  const int64_t T = args.x.rows(), D = args.x.cols();
  const auto dys = rows_of<float>("rms_norm_backward dy", args.dy);
  const auto xs = rows_of<float>("rms_norm_backward x", args.x);
  const float* const weight = rows_of<float>("rms_norm_backward weight", args.weight).data;
  const float* const inverses =
      rows_of<float>("rms_norm_backward inverse_rms", args.inverse_rms).data;
  const auto residuals = rows_of<float>("rms_norm_backward residual", args.residual);
  const auto dxs = rows_of<float>("rms_norm_backward dx", args.dx);
  for_each_row(queue, "rms_norm_backward_inputs", T,
               [=] __device__(int64_t t, int lane, bool mine, Fault*) {
                 const float* const x = xs[t];
                 const float* const dy = dys[t];
                 const float inverse = inverses[t];
                 float sum = 0.0f;
                 for_lane(D, lane, [&](int64_t i, bool there) {
                   const float g = there ? __fmul_rn(dy[i], weight[i]) : 0.0f;
                   sum = __fmaf_rn(g, there ? x[i] : 0.0f, sum);
                 });
                 const float mean = __fdiv_rn(sum_lanes(sum), static_cast<float>(D));
                 const float slope = __fmul_rn(__fmul_rn(mean, inverse), inverse);
                 if (!mine) return;
                 float* const dx = dxs[t];
                 for (int64_t i = lane; i < D; i += 16) {
                   const float g = __fmul_rn(dy[i], weight[i]);
                   const float through = __fmul_rn(__fmaf_rn(x[i], -slope, g), inverse);
                   dx[i] = residuals.data ? __fadd_rn(residuals[t][i], through) : through;
                 }
               });
}

void rms_norm_backward_weights(Queue& queue, const RmsNormWeightGradientArgs& args) {
  const int64_t T = args.x.rows(), D = args.x.cols();
  const auto dys = rows_of<float>("rms_norm_backward_weights dy", args.dy);
  const auto xs = rows_of<float>("rms_norm_backward_weights x", args.x);
  const float* const inverses =
      rows_of<float>("rms_norm_backward_weights inverse_rms", args.inverse_rms).data;
  float* const dweight = rows_of<float>("rms_norm_backward_weights dweight", args.dweight).data;
  for_each(queue, "rms_norm_backward_weights", D, [=] __device__(int64_t i) {
    float sum = 0.0f;
#pragma unroll 8
    for (int64_t t = 0; t < T; ++t)
      sum = __fmaf_rn(dys[t][i], __fmul_rn(xs[t][i], inverses[t]), sum);
    dweight[i] = sum;
  });
}

}  // namespace troupe::kernels::cuda
