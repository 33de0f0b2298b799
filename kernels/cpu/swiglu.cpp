#if !defined(TROUPE_ISA_PASS)

#include "kernels/cpu/row_type.h"
#include "kernels/ops/swiglu.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/swiglu.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

void swiglu(Queue& queue, const SwigluArgs& args) {
  const OperatorLabel label("swiglu");
  const int64_t T = args.gate.rows(), F = args.gate.cols();
  const DType type = row_type(queue, args.gate);
  expect_shape("swiglu gate", args.gate, type, {T, F});
  expect_shape("swiglu up", args.up, type, {T, F});
  expect_shape("swiglu y", args.y, type, {T, F});
  if (queue.is_cuda()) return cuda::swiglu(queue, args);
  const int64_t parts = part_count(queue, T, 8 * F);
  queue.run(parts, [args, T, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    TROUPE_ISA_CALL(forward_rows)(args, begin, end);
  });
}

void swiglu_backward(Queue& queue, const SwigluBackwardArgs& args) {
  const OperatorLabel label("swiglu_backward");
  const int64_t T = args.gate.rows(), F = args.gate.cols();
  const DType type = row_type(queue, args.gate);
  expect_shape("swiglu_backward dy", args.dy, type, {T, F});
  expect_shape("swiglu_backward gate", args.gate, type, {T, F});
  expect_shape("swiglu_backward up", args.up, type, {T, F});
  expect_shape("swiglu_backward dgate", args.dgate, type, {T, F});
  expect_shape("swiglu_backward dup", args.dup, type, {T, F});
  if (queue.is_cuda()) return cuda::swiglu_backward(queue, args);
  const int64_t parts = part_count(queue, T, 8 * F);
  queue.run(parts, [args, T, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    TROUPE_ISA_CALL(backward_rows)(args, begin, end);
  });
}

}  // namespace troupe::kernels

#else

inline void forward_rows(const SwigluArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* gate = values<float>(args.gate) + t * args.gate.row_stride;
    const float* up = values<float>(args.up) + t * args.up.row_stride;
    float* y = values<float>(args.y) + t * args.y.row_stride;
    for_lanes(args.gate.cols(), [&](int64_t i, int n) {
      const F16 g = load_lanes(gate + i, n);
      store_lanes(y + i, g * sigmoid(g) * load_lanes(up + i, n), n);
    });
  }
}

/// dup = dy * (g * s), dgate = (dy * up) * (s * (1 + g * (1 - s))), s = sigmoid(g).
inline void backward_rows(const SwigluBackwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* dy = values<float>(args.dy) + t * args.dy.row_stride;
    const float* gate = values<float>(args.gate) + t * args.gate.row_stride;
    const float* up = values<float>(args.up) + t * args.up.row_stride;
    float* dgate = values<float>(args.dgate) + t * args.dgate.row_stride;
    float* dup = values<float>(args.dup) + t * args.dup.row_stride;
    for_lanes(args.gate.cols(), [&](int64_t i, int n) {
      const F16 g = load_lanes(gate + i, n), d = load_lanes(dy + i, n);
      const F16 s = sigmoid(g);
      const F16 slope = s * fma(g, set1(1.0f) - s, set1(1.0f));
      const F16 d_up = d * (g * s);
      store_lanes(dgate + i, d * load_lanes(up + i, n) * slope, n);
      store_lanes(dup + i, d_up, n);
    });
  }
}

#endif
