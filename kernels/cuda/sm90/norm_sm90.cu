#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/sm90/norm_sm90.h"

namespace troupe::kernels::cuda {
namespace {

__device__ inline float sum_of_warp(float sum) {
  for (int width = 16; width > 0; width /= 2) {
    sum = __fadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, width));
  }
  return __shfl_sync(0xffffffffu, sum, 0);
}

/// A warp a row: calls f(row, lane).
template <class F>
__global__ void warps_kernel(int64_t rows, F f) {
  const int64_t row = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (row < rows) f(row, static_cast<int>(threadIdx.x % 32));
}

template <class F>
void for_each_warp(Queue& queue, const char* what, int64_t rows, F f) {
  if (rows <= 0) return;
  enqueue(queue, what, [=](CUstream_st* stream, Fault*) {
    warps_kernel<<<blocks_for(rows, 4), 128, 0, stream>>>(rows, f);
  });
}

template <bool kVector, class X, class Y>
void forward(Queue& queue, const RmsNormArgs& args) {
  const int D = static_cast<int>(args.x.cols());
  const auto xs = rows_of<X>("rms_norm x", args.x);
  const float* const weight = rows_of<float>("rms_norm weight", args.weight).data;
  const auto ys = rows_of<Y>("rms_norm y", args.y);
  float* const inverses = rows_of<float>("rms_norm inverse_rms", args.inverse_rms).data;
  const float eps = args.eps;
  for_each_warp(queue, "rms_norm", args.x.rows(), [=] __device__(int64_t t, int lane) {
    float sum = 0.0f;
    for (int first = lane * neighbours; first < D; first += 32 * neighbours) {
      float x[neighbours];
      load_row<kVector>(xs[t] + first, min(neighbours, D - first), x);
#pragma unroll
      for (int i = 0; i < neighbours; ++i) sum = __fmaf_rn(x[i], x[i], sum);
    }
    const float mean = __fdiv_rn(sum_of_warp(sum), static_cast<float>(D));
    const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    if (lane == 0) inverses[t] = inverse;
    for (int first = lane * neighbours; first < D; first += 32 * neighbours) {
      const int n = min(neighbours, D - first);
      float x[neighbours], w[neighbours];
      load_row<kVector>(xs[t] + first, n, x);
      load_row<kVector>(weight + first, n, w);
#pragma unroll
      for (int i = 0; i < neighbours; ++i) x[i] = __fmul_rn(__fmul_rn(x[i], inverse), w[i]);
      store_row<kVector>(ys[t] + first, n, x);
    }
  });
}

template <bool kVector, class Dy, class X, class Dx>
void backward_inputs(Queue& queue, const RmsNormBackwardArgs& args) {
  const int D = static_cast<int>(args.x.cols());
  const auto dys = rows_of<Dy>("rms_norm_backward dy", args.dy);
  const auto xs = rows_of<X>("rms_norm_backward x", args.x);
  const float* const weight = rows_of<float>("rms_norm_backward weight", args.weight).data;
  const float* const inverses =
      rows_of<float>("rms_norm_backward inverse_rms", args.inverse_rms).data;
  const auto residuals = rows_of<float>("rms_norm_backward residual", args.residual);
  const auto dxs = rows_of<Dx>("rms_norm_backward dx", args.dx);
  for_each_warp(
      queue, "rms_norm_backward_inputs", args.x.rows(), [=] __device__(int64_t t, int lane) {
        const float inverse = inverses[t];
        const auto gradients = [&](int first, int n, float(&g)[neighbours], float(&x)[neighbours]) {
          float w[neighbours];
          load_row<kVector>(dys[t] + first, n, g);
          load_row<kVector>(weight + first, n, w);
          load_row<kVector>(xs[t] + first, n, x);
#pragma unroll
          for (int i = 0; i < neighbours; ++i) g[i] = __fmul_rn(g[i], w[i]);
        };
        float sum = 0.0f, g[neighbours], x[neighbours];
        for (int first = lane * neighbours; first < D; first += 32 * neighbours) {
          gradients(first, min(neighbours, D - first), g, x);
#pragma unroll
          for (int i = 0; i < neighbours; ++i) sum = __fmaf_rn(g[i], x[i], sum);
        }
        const float mean = __fdiv_rn(sum_of_warp(sum), static_cast<float>(D));
        const float slope = __fmul_rn(__fmul_rn(mean, inverse), inverse);
        for (int first = lane * neighbours; first < D; first += 32 * neighbours) {
          const int n = min(neighbours, D - first);
          gradients(first, n, g, x);
#pragma unroll
          for (int i = 0; i < neighbours; ++i) {
            g[i] = __fmul_rn(__fmaf_rn(x[i], -slope, g[i]), inverse);
          }
          if (residuals.data) {
            float beside[neighbours];
            load_row<kVector>(residuals[t] + first, n, beside);
#pragma unroll
            for (int i = 0; i < neighbours; ++i) g[i] = __fadd_rn(beside[i], g[i]);
          }
          store_row<kVector>(dxs[t] + first, n, g);
        }
      });
}

constexpr int chain_rows = 64;

/// A thread eight columns of a chain.
template <bool kVector, class Dy, class X>
__global__ void chains_kernel(Rows<const Dy> dys, Rows<const X> xs, const float* inverses,
                              int64_t T, int D, float* sums) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * neighbours;
  if (column >= D) return;
  const int n = min(neighbours, D - column);
  const int64_t first = blockIdx.y * int64_t{chain_rows};
  const int64_t end = min(T, first + chain_rows);
  float sum[neighbours] = {};
#pragma unroll 4
  for (int64_t t = first; t < end; ++t) {
    float dy[neighbours], x[neighbours];
    load_row<kVector>(dys[t] + column, n, dy);
    load_row<kVector>(xs[t] + column, n, x);
    const float inverse = inverses[t];
#pragma unroll
    for (int i = 0; i < neighbours; ++i) sum[i] = __fmaf_rn(dy[i], __fmul_rn(x[i], inverse), sum[i]);
  }
  store_row<kVector>(sums + blockIdx.y * int64_t{D} + column, n, sum);
}

__global__ void add_chains_kernel(const float* sums, int64_t chains, int D, float* dweight) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (column >= D) return;
  float sum = 0.0f;
#pragma unroll 32
  for (int64_t c = 0; c < chains; ++c) sum = __fadd_rn(sum, sums[c * D + column]);
  dweight[column] = sum;
}

template <bool kVector, class Dy, class X>
void backward_weights(Queue& queue, const RmsNormWeightGradientArgs& args) {
  const int64_t T = args.x.rows(), chains = (T + chain_rows - 1) / chain_rows;
  const int D = static_cast<int>(args.x.cols());
  const auto dys = rows_of<Dy>("rms_norm_backward_weights dy", args.dy);
  const auto xs = rows_of<X>("rms_norm_backward_weights x", args.x);
  const float* const inverses =
      rows_of<float>("rms_norm_backward_weights inverse_rms", args.inverse_rms).data;
  float* const dweight = rows_of<float>("rms_norm_backward_weights dweight", args.dweight).data;
  const Buffer memory = allocate(Device::cuda, DType::f32, {std::max<int64_t>(chains, 1), D});
  enqueue(queue, "rms_norm_backward_weights", [=](CUstream_st* stream, Fault*) {
    float* const sums = values<float>(memory.view);
    if (chains > 0) {
      const dim3 grid(blocks_for(D, 64 * neighbours), static_cast<unsigned>(chains));
      chains_kernel<kVector><<<grid, 64, 0, stream>>>(dys, xs, inverses, T, D, sums);
    }
    add_chains_kernel<<<blocks_for(D, 32), 32, 0, stream>>>(sums, chains, D, dweight);
  });
}

}  // namespace

void rms_norm_sm90(Queue& queue, const RmsNormArgs& args) {
  const bool in_eights =
      are_in_eights({args.x, args.y}) && reinterpret_cast<uintptr_t>(args.weight.data) % 16 == 0;
  with_type_of(args.x, [&](auto x) {
    with_type_of(args.y, [&](auto y) {
      using X = decltype(x);
      using Y = decltype(y);
      in_eights ? forward<true, X, Y>(queue, args) : forward<false, X, Y>(queue, args);
    });
  });
}

void rms_norm_backward_inputs_sm90(Queue& queue, const RmsNormBackwardArgs& args) {
  const bool in_eights = are_in_eights({args.dy, args.x, args.dx}) &&
                         (!args.residual.data || are_in_eights({args.residual})) &&
                         reinterpret_cast<uintptr_t>(args.weight.data) % 16 == 0;
  with_type_of(args.dy, [&](auto dy) {
    with_type_of(args.x, [&](auto x) {
      with_type_of(args.dx, [&](auto dx) {
        using Dy = decltype(dy);
        using X = decltype(x);
        using Dx = decltype(dx);
        in_eights ? backward_inputs<true, Dy, X, Dx>(queue, args)
                  : backward_inputs<false, Dy, X, Dx>(queue, args);
      });
    });
  });
}

void rms_norm_backward_weights_sm90(Queue& queue, const RmsNormWeightGradientArgs& args) {
  const bool in_eights = are_in_eights({args.dy, args.x});
  with_type_of(args.dy, [&](auto dy) {
    with_type_of(args.x, [&](auto x) {
      using Dy = decltype(dy);
      using X = decltype(x);
      in_eights ? backward_weights<true, Dy, X>(queue, args)
                : backward_weights<false, Dy, X>(queue, args);
    });
  });
}

}  // namespace troupe::kernels::cuda
