#include "kernels/ops/permute.h"

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/lane.cuh"

namespace troupe::kernels::cuda {
namespace {

/// A warp a row, of which it reads a part before it writes any of it.
template <bool kVector, class From, class To>
__global__ void gather_kernel(Rows<const From> x, const int32_t* index, Rows<To> y, int64_t T,
                              int64_t R, int D, Fault* fault) {
  constexpr int ahead = 4, step = 32 * neighbours;
  const int64_t r = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (r >= R) return;
  const int64_t from = index[r];
  if (!is_within(fault, FaultName::gather_rows, r, from, 0, T - 1)) return;
  for (int first = static_cast<int>(threadIdx.x) % 32 * neighbours; first < D; first += ahead * step) {
    float v[ahead][neighbours];
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      const int i = first + j * step;
      if (i < D) load_row<kVector>(x[from] + i, min(neighbours, D - i), v[j]);
    }
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      const int i = first + j * step;
      if (i < D) store_row<kVector>(y[r] + i, min(neighbours, D - i), v[j]);
    }
  }
}

template <class From, class To>
void gather(Queue& queue, const GatherRowsArgs& args) {
  const int64_t T = args.x.rows(), R = args.y.rows();
  const int D = static_cast<int>(args.x.cols());
  const auto x = rows_of<From>("gather_rows x", args.x);
  rows_of<int32_t>("gather_rows index", args.index);
  const auto y = rows_of<To>("gather_rows y", args.y);
  const bool in_eights = are_in_eights({args.x, args.y});
  enqueue(queue, "gather_rows",
          [=, table = NearTable(args.index)](CUstream_st* stream, Fault* fault) {
            const int32_t* const index = table.bring(stream);
            const auto kernel = in_eights ? gather_kernel<true, From, To> : gather_kernel<false, From, To>;
            kernel<<<blocks_for(R, 8), 256, 0, stream>>>(x, index, y, T, R, D, fault);
          });
}

template <class T>
void copy_of(Queue& queue, const CopyArgs& args) {
  const int64_t rows = args.x.rows(), D = args.x.cols();
  const auto x = rows_of<T>("copy x", args.x);
  const auto y = rows_of<T>("copy y", args.y);
  for_each(queue, "copy", rows * D,
           [=] __device__(int64_t i) { y[i / D][i % D] = x[i / D][i % D]; });
}

/// Through f32 registers, which keep every bit of f32.
void copy_rows(Queue& queue, const CopyArgs& args) {
  const auto x = rows_of<float>("copy x", args.x);
  const auto y = rows_of<float>("copy y", args.y);
  for_each_eight(queue, "copy", args.x.rows(), args.x.cols(), are_in_eights({args.x, args.y}),
                 [=] __device__(int64_t r, int first, int n, auto vector) {
                   float v[neighbours];
                   load_row<vector.value>(x[r] + first, n, v);
                   store_row<vector.value>(y[r] + first, n, v);
                 });
}

}  // namespace

void gather_rows(Queue& queue, const GatherRowsArgs& args) {
  if (args.y.rows() == 0) return;
  with_type_of(args.x, [&](auto from) {
    with_type_of(args.y, [&](auto to) { gather<decltype(from), decltype(to)>(queue, args); });
  });
}

void scale_rows(Queue& queue, const ScaleRowsArgs& args) {
  const auto x = rows_of<float>("scale_rows x", args.x);
  const float* const scale = rows_of<float>("scale_rows scale", args.scale).data;
  const auto y = rows_of<float>("scale_rows y", args.y);
  for_each_eight(queue, "scale_rows", args.x.rows(), args.x.cols(), are_in_eights({args.x, args.y}),
                 [=] __device__(int64_t r, int first, int n, auto vector) {
                   float v[neighbours];
                   load_row<vector.value>(x[r] + first, n, v);
#pragma unroll
                   for (int i = 0; i < neighbours; ++i) v[i] = __fmul_rn(scale[r], v[i]);
                   store_row<vector.value>(y[r] + first, n, v);
                 });
}

void dot_rows(Queue& queue, const DotRowsArgs& args) {
  const int64_t R = args.a.rows(), D = args.a.cols();
  const auto a = rows_of<float>("dot_rows a", args.a);
  const auto b = rows_of<float>("dot_rows b", args.b);
  float* const y = rows_of<float>("dot_rows y", args.y).data;
  for_each_row(queue, "dot_rows", R, [=] __device__(int64_t r, int lane, bool mine, Fault*) {
    const float sum = dot(a[r], b[r], D, lane);
    if (mine && lane == 0) y[r] = sum;
  });
}

void add(Queue& queue, const AddArgs& args) {
  const auto a = rows_of<float>("add a", args.a);
  const auto b = rows_of<float>("add b", args.b);
  const bool has_onto = args.onto.data != nullptr;
  const auto onto = rows_of<float>("add onto", has_onto ? args.onto : args.a);
  const auto y = rows_of<float>("add y", args.y);
  for_each_eight(queue, "add", args.a.rows(), args.a.cols(),
                 are_in_eights({args.a, args.b, has_onto ? args.onto : args.a, args.y}),
                 [=] __device__(int64_t r, int first, int n, auto vector) {
                   float v[neighbours], w[neighbours];
                   load_row<vector.value>(a[r] + first, n, v);
                   load_row<vector.value>(b[r] + first, n, w);
#pragma unroll
                   for (int i = 0; i < neighbours; ++i) v[i] = __fadd_rn(v[i], w[i]);
                   if (has_onto) {
                     load_row<vector.value>(onto[r] + first, n, w);
#pragma unroll
                     for (int i = 0; i < neighbours; ++i) v[i] = __fadd_rn(w[i], v[i]);
                   }
                   store_row<vector.value>(y[r] + first, n, v);
                 });
}

namespace {

/// By the driver: a vector of the state is one row of millions, of which a kernel would make a block's work.
void copy_one_row(Queue& queue, const CopyArgs& args) {
  const int64_t bytes = args.x.count() * size_of(args.x.dtype);
  const char* const x = rows_of<char>("copy x", args.x).data;
  char* const y = rows_of<char>("copy y", args.y).data;
  if (bytes == 0) return;
  enqueue(queue, "copy", [=](CUstream_st* stream, Fault*) {
    check(cudaMemcpyAsync(y, x, static_cast<size_t>(bytes), cudaMemcpyDefault, stream), "copy");
  });
}

}  // namespace

void copy(Queue& queue, const CopyArgs& args) {
  if (args.x.rows() == 1) return copy_one_row(queue, args);
  switch (size_of(args.x.dtype)) {
    case 1:
      return copy_of<uint8_t>(queue, args);
    case 2:
      return copy_of<uint16_t>(queue, args);
    case 4:
      return args.x.dtype == DType::f32 ? copy_rows(queue, args) : copy_of<uint32_t>(queue, args);
    default:
      return copy_of<uint64_t>(queue, args);
  }
}

void set_zero(Queue& queue, const SetZeroArgs& args) {
  const int64_t T = args.y.rows(), bytes = args.y.cols() * size_of(args.y.dtype);
  const int64_t stride = args.y.row_stride * size_of(args.y.dtype);
  char* const y = rows_of<char>("set_zero y", args.y).data;
  if (T * bytes == 0) return;
  enqueue(queue, "set_zero", [=](CUstream_st* stream, Fault*) {
    check(cudaMemset2DAsync(y, static_cast<size_t>(stride), 0, static_cast<size_t>(bytes),
                            static_cast<size_t>(T), stream),
          "set_zero");
  });
}

}  // namespace troupe::kernels::cuda
