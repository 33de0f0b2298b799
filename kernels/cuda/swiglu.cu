#include "kernels/swiglu.h"

#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.cuh"

namespace troupe::kernels::cuda {

void swiglu(Queue& queue, const SwigluArgs& args) {
  const int64_t T = args.gate.rows(), F = args.gate.cols();
  const auto gate = rows_of<float>("swiglu gate", args.gate);
  const auto up = rows_of<float>("swiglu up", args.up);
  const auto y = rows_of<float>("swiglu y", args.y);
  for_each(queue, "swiglu", T * F, [=] __device__(int64_t i) {
    const int64_t t = i / F, f = i % F;
    const F16 g = set1(gate[t][f]);
    y[t][f] = (g * sigmoid(g) * set1(up[t][f])).v;
  });
}

/// dup = dy * (g * s), dgate = (dy * up) * (s * (1 + g * (1 - s))), s = sigmoid(g).
void swiglu_backward(Queue& queue, const SwigluBackwardArgs& args) {
  const int64_t T = args.gate.rows(), F = args.gate.cols();
  const auto dy = rows_of<float>("swiglu_backward dy", args.dy);
  const auto gate = rows_of<float>("swiglu_backward gate", args.gate);
  const auto up = rows_of<float>("swiglu_backward up", args.up);
  const auto dgate = rows_of<float>("swiglu_backward dgate", args.dgate);
  const auto dup = rows_of<float>("swiglu_backward dup", args.dup);
  for_each(queue, "swiglu_backward", T * F, [=] __device__(int64_t i) {
    const int64_t t = i / F, f = i % F;
    const F16 g = set1(gate[t][f]), d = set1(dy[t][f]);
    const F16 s = sigmoid(g);
    const F16 slope = s * fma(g, set1(1.0f) - s, set1(1.0f));
    const F16 d_up = d * (g * s);
    dgate[t][f] = (d * set1(up[t][f]) * slope).v;
    dup[t][f] = d_up.v;
  });
}

}  // namespace troupe::kernels::cuda
