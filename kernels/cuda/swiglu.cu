#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/swiglu_math.cuh"
#include "kernels/ops/swiglu.h"

namespace troupe::kernels::cuda {
namespace {

template <class T>
void forward(Queue& queue, const SwigluArgs& args) {
  const auto gate = rows_of<T>("swiglu gate", args.gate);
  const auto up = rows_of<T>("swiglu up", args.up);
  const auto y = rows_of<T>("swiglu y", args.y);
  for_each_eight(queue, "swiglu", args.gate.rows(), args.gate.cols(),
                 are_in_eights({args.gate, args.up, args.y}),
                 [=] __device__(int64_t t, int f, int n, auto vector) {
                   float g[neighbours], u[neighbours], s[neighbours];
                   load_row<vector.value>(gate[t] + f, n, g);
                   load_row<vector.value>(up[t] + f, n, u);
                   sigmoids(g, s);
#pragma unroll
                   for (int i = 0; i < neighbours; ++i) g[i] = activated_of(g[i], u[i], s[i]);
                   store_row<vector.value>(y[t] + f, n, g);
                 });
}

template <class T>
void backward(Queue& queue, const SwigluBackwardArgs& args) {
  const auto dy = rows_of<T>("swiglu_backward dy", args.dy);
  const auto gate = rows_of<T>("swiglu_backward gate", args.gate);
  const auto up = rows_of<T>("swiglu_backward up", args.up);
  const auto dgate = rows_of<T>("swiglu_backward dgate", args.dgate);
  const auto dup = rows_of<T>("swiglu_backward dup", args.dup);
  for_each_eight(queue, "swiglu_backward", args.gate.rows(), args.gate.cols(),
                 are_in_eights({args.dy, args.gate, args.up, args.dgate, args.dup}),
                 [=] __device__(int64_t t, int f, int n, auto vector) {
                   float d[neighbours], g[neighbours], u[neighbours], s[neighbours];
                   load_row<vector.value>(dy[t] + f, n, d);
                   load_row<vector.value>(gate[t] + f, n, g);
                   load_row<vector.value>(up[t] + f, n, u);
                   sigmoids(g, s);
#pragma unroll
                   for (int i = 0; i < neighbours; ++i) {
                     const SwigluDeltas deltas = swiglu_deltas_of(g[i], u[i], d[i], s[i]);
                     g[i] = deltas.dgate;
                     u[i] = deltas.dup;
                   }
                   store_row<vector.value>(dgate[t] + f, n, g);
                   store_row<vector.value>(dup[t] + f, n, u);
                 });
}

}  // namespace

void swiglu(Queue& queue, const SwigluArgs& args) {
  args.gate.dtype == DType::bf16 ? forward<uint16_t>(queue, args) : forward<float>(queue, args);
}

void swiglu_backward(Queue& queue, const SwigluBackwardArgs& args) {
  args.gate.dtype == DType::bf16 ? backward<uint16_t>(queue, args) : backward<float>(queue, args);
}

}  // namespace troupe::kernels::cuda
