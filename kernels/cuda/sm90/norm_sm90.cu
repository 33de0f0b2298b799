#include <algorithm>
#include <type_traits>

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/sm90/norm_rows.cuh"
#include "kernels/cuda/sm90/norm_sm90.h"

namespace troupe::kernels::cuda {
namespace {

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

/// Eight neighbouring columns of dy, and of what is added to it. Which of both is known to the compiler: a
/// question between reads would keep one from being under way with the next.
template <bool kVector, bool kMore, class Dy>
__device__ inline void load_sum(const Rows<const Dy>& dys, const Rows<const Dy>& more, int64_t t, int column,
                                int n, float (&dy)[neighbours]) {
  load_row<kVector>(dys[t] + column, n, dy);
  if constexpr (!kMore) return;
  float beside[neighbours];
  load_row<kVector>(more[t] + column, n, beside);
#pragma unroll
  for (int i = 0; i < neighbours; ++i) dy[i] = __fadd_rn(dy[i], beside[i]);
}

/// A row by a warp, some eights of columns of each lane at a time, so that many reads are under way. Rows of
/// up to kEights eights a lane stay in registers; of longer ones the last does.
template <int kEights>
struct RowWalk {
  static constexpr int span = kEights * 32 * neighbours;  ///< columns at a time

  int D, lane;

  /// Calls f(i, column, n) for the lane's i-th eight of the span that begins at `from`, of which n columns are
  /// there.
  template <class F>
  __device__ void each(int from, const F& f) const {
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
      const int column = from + (i * 32 + lane) * neighbours;
      if (column < D) f(i, column, min(neighbours, D - column));
    }
  }
  /// Calls f(from) for every span, ascending: chains go along the row.
  template <class F>
  __device__ void ascending(const F& f) const {
    for (int from = 0; from < D; from += span) f(from);
  }
  /// Calls f(from, is_there) descending: the first has been read just now.
  template <class F>
  __device__ void descending(const F& f) const {
    const int last = (D - 1) / span * span;
    for (int from = last; from >= 0; from -= span) f(from, from == last);
  }
};

template <int n>
using Eights = std::integral_constant<int, n>;

/// Calls f(eights of RowWalk, whether rows are read in whole eights): as many as rows of D columns need, 8 at most.
template <class F>
void with_eights(int64_t D, bool in_eights, const F& f) {
  if (!in_eights) return f(Eights<4>(), std::false_type());
  D <= 4 * 32 * neighbours ? f(Eights<4>(), std::true_type()) : f(Eights<8>(), std::true_type());
}

/// Calls f(whether there is more of a gradient of this type): of bf16 alone.
template <class Dy, class F>
void with_more(const ConstTensor& more, const F& f) {
  if constexpr (sizeof(Dy) == 2) {
    if (more.data != nullptr) return f(std::true_type());
  }
  f(std::false_type());
}

template <int kEights, bool kVector, class X, class Y>
void forward(Queue& queue, const RmsNormArgs& args) {
  const int D = static_cast<int>(args.x.cols());
  const auto xs = rows_of<X>("rms_norm x", args.x);
  const float* const weight = rows_of<float>("rms_norm weight", args.weight).data;
  const auto ys = rows_of<Y>("rms_norm y", args.y);
  float* const inverses = rows_of<float>("rms_norm inverse_rms", args.inverse_rms).data;
  const float eps = args.eps;
  for_each_warp(queue, "rms_norm", args.x.rows(), [=] __device__(int64_t t, int lane) {
    const RowWalk<kEights> walk{D, lane};
    float x[kEights][neighbours];
    const auto read = [&](int i, int column, int n) { load_row<kVector>(xs[t] + column, n, x[i]); };
    float sum = 0.0f;
    walk.ascending([&](int from) {
      walk.each(from, read);
      walk.each(from, [&](int i, int, int) {
#pragma unroll
        for (int j = 0; j < neighbours; ++j) sum = __fmaf_rn(x[i][j], x[i][j], sum);
      });
    });
    const float mean = __fdiv_rn(sum_of_warp(sum), static_cast<float>(D));
    const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    if (lane == 0) inverses[t] = inverse;
    walk.descending([&](int from, bool is_there) {
      if (!is_there) walk.each(from, read);
      walk.each(from, [&](int i, int column, int n) {
        float w[neighbours];
        load_row<kVector>(weight + column, n, w);
#pragma unroll
        for (int j = 0; j < neighbours; ++j) w[j] = __fmul_rn(__fmul_rn(x[i][j], inverse), w[j]);
        store_row<kVector>(ys[t] + column, n, w);
      });
    });
  });
}

template <class X, class Y>
void forward_in_one(Queue& queue, const RmsNormArgs& args) {
  if (args.x.rows() <= 0) return;
  const NormRows<X, Y> rows{rows_of<X>("rms_norm x", args.x),
                            rows_of<float>("rms_norm weight", args.weight).data,
                            args.eps,
                            rows_of<Y>("rms_norm y", args.y),
                            rows_of<float>("rms_norm inverse_rms", args.inverse_rms).data,
                            args.x.rows(),
                            static_cast<int>(args.x.cols())};
  enqueue(queue, "rms_norm", [rows](CUstream_st* stream, Fault*) { norm_rows(rows, stream); });
}

template <int kEights, bool kVector, bool kMore, class Dy, class X, class Dx>
void backward_inputs(Queue& queue, const RmsNormBackwardArgs& args) {
  const int D = static_cast<int>(args.x.cols());
  const auto dys = rows_of<Dy>("rms_norm_backward dy", args.dy);
  const auto xs = rows_of<X>("rms_norm_backward x", args.x);
  const float* const weight = rows_of<float>("rms_norm_backward weight", args.weight).data;
  const float* const inverses =
      rows_of<float>("rms_norm_backward inverse_rms", args.inverse_rms).data;
  const auto residuals = rows_of<float>("rms_norm_backward residual", args.residual);
  const auto more = rows_of<Dy>("rms_norm_backward dy_more", args.dy_more);
  const auto dxs = rows_of<Dx>("rms_norm_backward dx", args.dx);
  for_each_warp(
      queue, "rms_norm_backward_inputs", args.x.rows(), [=] __device__(int64_t t, int lane) {
        const RowWalk<kEights> walk{D, lane};
        float g[kEights][neighbours], x[kEights][neighbours];
        const float inverse = inverses[t];
        const auto read = [&](int i, int column, int n) {
          load_sum<kVector, kMore>(dys, more, t, column, n, g[i]);
          load_row<kVector>(xs[t] + column, n, x[i]);
        };
        const auto weigh = [&](int i, int column, int n) {
          float w[neighbours];
          load_row<kVector>(weight + column, n, w);
#pragma unroll
          for (int j = 0; j < neighbours; ++j) g[i][j] = __fmul_rn(g[i][j], w[j]);
        };
        float sum = 0.0f;
        walk.ascending([&](int from) {
          walk.each(from, read);
          walk.each(from, [&](int i, int column, int n) {
            weigh(i, column, n);
#pragma unroll
            for (int j = 0; j < neighbours; ++j) sum = __fmaf_rn(g[i][j], x[i][j], sum);
          });
        });
        const float mean = __fdiv_rn(sum_of_warp(sum), static_cast<float>(D));
        const float slope = __fmul_rn(__fmul_rn(mean, inverse), inverse);
        walk.descending([&](int from, bool is_there) {
          if (!is_there) {
            walk.each(from, read);
            walk.each(from, weigh);
          }
          walk.each(from, [&](int i, int column, int n) {
            float beside[neighbours];
            if (residuals.data) load_row<kVector>(residuals[t] + column, n, beside);
#pragma unroll
            for (int j = 0; j < neighbours; ++j) {
              const float through = __fmul_rn(__fmaf_rn(x[i][j], -slope, g[i][j]), inverse);
              g[i][j] = residuals.data ? __fadd_rn(beside[j], through) : through;
            }
            store_row<kVector>(dxs[t] + column, n, g[i]);
          });
        });
      });
}

constexpr int chain_rows = 64;

/// A thread eight columns of a chain.
template <bool kVector, bool kMore, class Dy, class X>
__global__ void chains_kernel(Rows<const Dy> dys, Rows<const Dy> more, Rows<const X> xs,
                              const float* inverses, int64_t T, int D, float* sums) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * neighbours;
  if (column >= D) return;
  const int n = min(neighbours, D - column);
  const int64_t first = blockIdx.y * int64_t{chain_rows};
  const int64_t end = min(T, first + chain_rows);
  float sum[neighbours] = {};
#pragma unroll 8
  for (int64_t t = first; t < end; ++t) {
    float dy[neighbours], x[neighbours];
    load_sum<kVector, kMore>(dys, more, t, column, n, dy);
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

template <bool kVector, bool kMore, class Dy, class X>
void backward_weights(Queue& queue, const RmsNormWeightGradientArgs& args) {
  const int64_t T = args.x.rows(), chains = (T + chain_rows - 1) / chain_rows;
  const int D = static_cast<int>(args.x.cols());
  const auto dys = rows_of<Dy>("rms_norm_backward_weights dy", args.dy);
  const auto more = rows_of<Dy>("rms_norm_backward_weights dy_more", args.dy_more);
  const auto xs = rows_of<X>("rms_norm_backward_weights x", args.x);
  const float* const inverses =
      rows_of<float>("rms_norm_backward_weights inverse_rms", args.inverse_rms).data;
  float* const dweight = rows_of<float>("rms_norm_backward_weights dweight", args.dweight).data;
  const Buffer memory = allocate(Device::cuda, DType::f32, {std::max<int64_t>(chains, 1), D});
  enqueue(queue, "rms_norm_backward_weights", [=](CUstream_st* stream, Fault*) {
    float* const sums = values<float>(memory.view);
    if (chains > 0) {
      const dim3 grid(blocks_for(D, 64 * neighbours), static_cast<unsigned>(chains));
      chains_kernel<kVector, kMore><<<grid, 64, 0, stream>>>(dys, more, xs, inverses, T, D, sums);
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
      if (in_eights && args.x.cols() <= most_norm_columns) return forward_in_one<X, Y>(queue, args);
      in_eights ? forward<8, true, X, Y>(queue, args) : forward<4, false, X, Y>(queue, args);
    });
  });
}

void rms_norm_backward_inputs_sm90(Queue& queue, const RmsNormBackwardArgs& args) {
  const bool in_eights = are_in_eights({args.dy, args.x, args.dx}) &&
                         (!args.residual.data || are_in_eights({args.residual})) &&
                         (!args.dy_more.data || are_in_eights({args.dy_more})) &&
                         reinterpret_cast<uintptr_t>(args.weight.data) % 16 == 0;
  with_type_of(args.dy, [&](auto dy) {
    with_type_of(args.x, [&](auto x) {
      with_type_of(args.dx, [&](auto dx) {
        with_eights(args.x.cols(), in_eights, [&](auto eights, auto vector) {
          with_more<decltype(dy)>(args.dy_more, [&](auto more) {
            backward_inputs<eights.value, vector.value, more.value, decltype(dy), decltype(x), decltype(dx)>(
                queue, args);
          });
        });
      });
    });
  });
}

void rms_norm_backward_weights_sm90(Queue& queue, const RmsNormWeightGradientArgs& args) {
  const bool in_eights =
      are_in_eights({args.dy, args.x}) && (!args.dy_more.data || are_in_eights({args.dy_more}));
  with_type_of(args.dy, [&](auto dy) {
    with_type_of(args.x, [&](auto x) {
      with_more<decltype(dy)>(args.dy_more, [&](auto more) {
        in_eights ? backward_weights<true, more.value, decltype(dy), decltype(x)>(queue, args)
                  : backward_weights<false, more.value, decltype(dy), decltype(x)>(queue, args);
      });
    });
  });
}

}  // namespace troupe::kernels::cuda
