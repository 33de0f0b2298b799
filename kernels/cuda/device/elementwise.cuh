// Operators that compute an element of a row from the same place of other rows: eight neighbours a
// thread, in 16-byte accesses where the tensors allow it. Rows of f32 or bf16.
#pragma once

#include <cuda_bf16.h>

#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {

constexpr int neighbours = 8;

template <class T>
__device__ inline float to_f32(T x) {
  if constexpr (std::is_same_v<T, uint16_t>) return __uint_as_float(static_cast<uint32_t>(x) << 16);
  if constexpr (!std::is_same_v<T, uint16_t>) return x;
}
/// bf16: to nearest, ties to even; NaN stays NaN.
template <class T>
__device__ inline T from_f32(float x) {
  if constexpr (std::is_same_v<T, uint16_t>) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
  } else {
    return x;
  }
}

struct alignas(16) SixteenBytes {
  uint32_t word[4];
};

/// The first `n` of eight neighbours; all of them, aligned, if kVector.
template <bool kVector, class T>
__device__ inline void load_row(const T* from, int n, float (&v)[neighbours]) {
  if constexpr (!kVector) {
#pragma unroll
    for (int i = 0; i < neighbours; ++i) v[i] = i < n ? to_f32(from[i]) : 0.0f;
  } else if constexpr (sizeof(T) == 2) {
    const auto packed = *reinterpret_cast<const SixteenBytes*>(from);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[2 * i] = __uint_as_float(packed.word[i] << 16);
      v[2 * i + 1] = __uint_as_float(packed.word[i] & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float4 four = *reinterpret_cast<const float4*>(from + 4 * half);
      v[4 * half] = four.x;
      v[4 * half + 1] = four.y;
      v[4 * half + 2] = four.z;
      v[4 * half + 3] = four.w;
    }
  }
}

template <bool kVector, class T>
__device__ inline void store_row(T* to, int n, const float (&v)[neighbours]) {
  if constexpr (!kVector) {
#pragma unroll
    for (int i = 0; i < neighbours; ++i) {
      if (i < n) to[i] = from_f32<T>(v[i]);
    }
  } else if constexpr (sizeof(T) == 2) {
    SixteenBytes packed;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      packed.word[i] = static_cast<uint32_t>(from_f32<uint16_t>(v[2 * i])) |
                       static_cast<uint32_t>(from_f32<uint16_t>(v[2 * i + 1])) << 16;
    }
    *reinterpret_cast<SixteenBytes*>(to) = packed;
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<float4*>(to + 4 * half) =
          make_float4(v[4 * half], v[4 * half + 1], v[4 * half + 2], v[4 * half + 3]);
    }
  }
}

/// Whether rows of these tensors are read and written in whole eights.
inline bool are_in_eights(std::initializer_list<ConstTensor> tensors) {
  for (const ConstTensor& t : tensors) {
    if (t.cols() % neighbours != 0 || t.row_stride % neighbours != 0) return false;
    if (reinterpret_cast<uintptr_t>(t.data) % 16 != 0) return false;
  }
  return true;
}

/// A block has 256 / width rows, `width` threads a row.
template <bool kVector, class F>
__global__ void eights_kernel(int64_t rows, int cols, int width, F f) {
  const int lane = static_cast<int>(threadIdx.x) % width;
  const int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.x / static_cast<unsigned>(width)) +
                      threadIdx.x / static_cast<unsigned>(width);
  if (row >= rows) return;
  for (int col = lane * neighbours; col < cols; col += width * neighbours) {
    f(row, col, min(neighbours, cols - col), std::bool_constant<kVector>());
  }
}

/// Threads of a row: a power of two, at most 256.
inline int threads_of_row(int64_t cols) {
  int width = 1;
  while (width < 256 && width * neighbours < cols) width *= 2;
  return width;
}

/// Enqueues f(row, first column, columns there, is vector) for every eight neighbours of every row.
template <class F>
void for_each_eight(Queue& queue, const char* what, int64_t rows, int64_t cols, bool in_eights,
                    F f) {
  if (rows <= 0 || cols <= 0) return;
  const int width = threads_of_row(cols);
  const unsigned blocks = blocks_for(rows, 256 / width);
  enqueue(queue, what, [=](CUstream_st* stream, Fault*) {
    if (in_eights) {
      eights_kernel<true><<<blocks, 256, 0, stream>>>(rows, static_cast<int>(cols), width, f);
    } else {
      eights_kernel<false><<<blocks, 256, 0, stream>>>(rows, static_cast<int>(cols), width, f);
    }
  });
}

/// Calls f(T()) with the type of the tensor's elements: float or uint16_t (bf16).
template <class F>
void with_type_of(const ConstTensor& t, F f) {
  t.dtype == DType::bf16 ? f(uint16_t{}) : f(float{});
}

/// A table of the host's on its way to the GPU: kernels that read it in many blocks would each wait
/// for the host's memory.
class NearTable {
 public:
  explicit NearTable(const ConstTensor& table)
      : from_(table.data), bytes_(static_cast<size_t>(table.count() * size_of(table.dtype))) {
    if (table.device == Device::cuda || bytes_ == 0) return;
    if (!table.is_contiguous()) throw KernelError("a table in rows apart, wanted contiguous rows");
    near_ = allocate(Device::cuda, table.dtype, {table.count()});
  }
  /// In the stream: the table where it is near. The kernels behind may read it while this lives.
  const int32_t* bring(CUstream_st* stream) const {
    if (!near_) return static_cast<const int32_t*>(from_);
    check(cudaMemcpyAsync(near_.view.data, from_, bytes_, cudaMemcpyDefault, stream), "a table");
    return static_cast<const int32_t*>(near_.view.data);
  }

 private:
  const void* from_;
  size_t bytes_;
  Buffer near_;
};

}  // namespace troupe::kernels::cuda
