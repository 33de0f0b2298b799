#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/ops/rope.h"

namespace troupe::kernels::cuda {
namespace {

template <class T>
void rotate(Queue& queue, const RopeArgs& args) {
  const int64_t rows = args.x.rows(), P = args.cosines.rows();
  const auto pairs = static_cast<uint32_t>(args.x.cols() / 2);
  const auto heads = static_cast<uint32_t>(args.heads);
  const int64_t count = rows * pairs;
  const auto x = rows_of<T>("rope x", args.x);
  rows_of<int32_t>("rope positions", args.positions);
  const auto cosines = rows_of<float>("rope cosines", args.cosines);
  const auto sines = rows_of<float>("rope sines", args.sines);
  const auto y = rows_of<T>("rope y", args.y);
  const bool inverse = args.inverse;
  if (count == 0) return;
  if (count > std::numeric_limits<uint32_t>::max()) {
    throw KernelError("rope x " + describe(args.x) + " has " + std::to_string(count) +
                      " pairs, wanted fewer than 2^32");
  }
  enqueue(queue, "rope", [=, table = NearTable(args.positions)](CUstream_st* stream, Fault* fault) {
    const int32_t* const positions = table.bring(stream);
    const auto each = [=] __device__(int64_t at) {
      const uint32_t row = static_cast<uint32_t>(at) / pairs;
      const uint32_t i = static_cast<uint32_t>(at) - row * pairs, t = row / heads;
      const int64_t position = positions[t];
      if (!is_within(fault, FaultName::rope, t, position, 0, P - 1)) return;
      const float cosine = cosines[position][i];
      const float sine = inverse ? -sines[position][i] : sines[position][i];
      const float a = to_f32(x[row][2 * i]), b = to_f32(x[row][2 * i + 1]);
      y[row][2 * i] = from_f32<T>(__fmaf_rn(a, cosine, -__fmul_rn(b, sine)));
      y[row][2 * i + 1] = from_f32<T>(__fmaf_rn(a, sine, __fmul_rn(b, cosine)));
    };
    each_kernel<<<grid_for(count, 256), 256, 0, stream>>>(count, each);
  });
}

}  // namespace

void rope(Queue& queue, const RopeArgs& args) {
  with_type_of(args.x, [&](auto x) { rotate<decltype(x)>(queue, args); });
}

}  // namespace troupe::kernels::cuda
