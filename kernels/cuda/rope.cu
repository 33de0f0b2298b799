#include "kernels/rope.h"

#include "kernels/cuda/launch.cuh"

namespace troupe::kernels::cuda {

void rope(Queue& queue, const RopeArgs& args) {
  const int64_t T = args.positions.count(), P = args.cosines.rows(), pairs = args.x.cols() / 2;
  const int64_t heads = args.heads, count = T * heads * pairs;
  const auto x = rows_of<float>("rope x", args.x);
  const int32_t* const positions = rows_of<int32_t>("rope positions", args.positions).data;
  const auto cosines = rows_of<float>("rope cosines", args.cosines);
  const auto sines = rows_of<float>("rope sines", args.sines);
  const auto y = rows_of<float>("rope y", args.y);
  const bool inverse = args.inverse;
  if (count == 0) return;
  enqueue(queue, "rope", [=](CUstream_st* stream, Fault* fault) {
    const auto rotate = [=] __device__(int64_t at) {
      const int64_t row = at / pairs, i = at % pairs, t = row / heads;
      const int64_t position = positions[t];
      if (!is_within(fault, FaultName::rope, t, position, 0, P - 1)) return;
      const float cosine = cosines[position][i];
      const float sine = inverse ? -sines[position][i] : sines[position][i];
      const float a = x[row][2 * i], b = x[row][2 * i + 1];
      y[row][2 * i] = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
      y[row][2 * i + 1] = __fmaf_rn(a, sine, __fmul_rn(b, cosine));
    };
    each_kernel<<<grid_for(count, 256), 256, 0, stream>>>(count, rotate);
  });
}

}  // namespace troupe::kernels::cuda
