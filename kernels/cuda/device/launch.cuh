// How an operator's kernels are launched, and what they read and report.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/cuda/device/device.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

/// Throws DeviceError "what: the driver's text" unless the call has succeeded.
void check(cudaError_t status, const char* what);

/// A matrix as kernels see it: element (r, c) at data[r * stride + c].
template <class T>
struct Rows {
  T* data;
  int64_t stride;
  __device__ T* operator[](int64_t row) const { return data + row * stride; }
};

template <class T>
Rows<T> rows_of(const char* what, const Tensor& t) {
  expect_reachable(what, t, Device::cuda);
  return {values<T>(t), t.row_stride};
}
template <class T>
Rows<const T> rows_of(const char* what, const ConstTensor& t) {
  expect_reachable(what, t, Device::cuda);
  return {values<T>(t), t.row_stride};
}

/// A list that the host makes and kernels read in place. It lives as long as a copy of it does: in
/// the closure that launches.
template <class T>
class SharedList {
 public:
  explicit SharedList(const std::vector<T>& items)
      : buffer_(allocate_shared(DType::f8_e4m3, {bytes_of(items)})) {
    static_assert(std::is_trivially_copyable_v<T>);
    T* out = static_cast<T*>(buffer_.view.data);
    for (size_t i = 0; i < items.size(); ++i) out[i] = items[i];
  }
  const T* data() const { return static_cast<const T*>(buffer_.view.data); }

 private:
  static int64_t bytes_of(const std::vector<T>& items) {
    return static_cast<int64_t>(items.size() * sizeof(T));
  }
  Buffer buffer_;
};

/// A list that many blocks read: near them, for each block that reads the host's memory waits for it.
template <class T>
class NearList {
 public:
  explicit NearList(const std::vector<T>& items)
      : list_(items), bytes_(items.size() * sizeof(T)),
        near_(allocate(Device::cuda, DType::f8_e4m3, {static_cast<int64_t>(bytes_)})) {}
  /// In the stream. The kernels behind may read it while this lives.
  const T* bring(CUstream_st* stream) const {
    if (bytes_ == 0) return nullptr;
    check(cudaMemcpyAsync(near_.view.data, list_.data(), bytes_, cudaMemcpyDefault, stream), "a list");
    return static_cast<const T*>(near_.view.data);
  }

 private:
  SharedList<T> list_;
  size_t bytes_;
  Buffer near_;
};

inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

/// Blocks of a kernel that walks its items in strides of the grid.
inline unsigned grid_for(int64_t items, int64_t per_block) {
  constexpr int64_t most = int64_t{1} << 20;
  const int64_t blocks = (items + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

/// Enqueues launch(stream, fault); the error of a launch that fails names the operator. `what`
/// outlives the queue.
template <class F>
void enqueue(Queue& queue, const char* what, F launch) {
  queue.launch([what, launch = std::move(launch)](const GpuLane& lane) {
    launch(lane.stream, lane.fault);
    check(cudaGetLastError(), what);
  });
}

template <class F>
__global__ void each_kernel(int64_t count, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += step) {
    f(i);
  }
}

/// Enqueues f(i) for every i below `count`, each in a thread.
template <class F>
void for_each(Queue& queue, const char* what, int64_t count, F f) {
  if (count <= 0) return;
  enqueue(queue, what, [count, f](CUstream_st* stream, Fault*) {
    each_kernel<<<grid_for(count, 256), 256, 0, stream>>>(count, f);
  });
}

template <class F>
__global__ void half_warps_kernel(int64_t rows, Fault* fault, F f) {
  const int64_t row = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 16;
  // A warp goes on as a whole: its threads give each other their lanes.
  f(row < rows ? row : rows - 1, static_cast<int>(threadIdx.x % 16), row < rows, fault);
}

/// Enqueues f(row, lane, is_mine, fault) for every row, by 16 threads each. Where there are fewer
/// rows than threads, some do a row that others do too: is_mine says who writes it.
template <class F>
void for_each_row(Queue& queue, const char* what, int64_t rows, F f) {
  if (rows <= 0) return;
  enqueue(queue, what, [rows, f](CUstream_st* stream, Fault* fault) {
    half_warps_kernel<<<blocks_for(rows, 8), 128, 0, stream>>>(rows, fault, f);
  });
}

/// Keeps the first fault of a stream.
__device__ inline void report(Fault* fault, FaultName name, int64_t row, int64_t value,
                              int64_t least, int64_t most) {
  unsigned* const word = reinterpret_cast<unsigned*>(&fault->name);
  if (atomicCAS(word, 0u, static_cast<unsigned>(name)) != 0u) return;
  fault->row = row;
  fault->value = value;
  fault->least = least;
  fault->most = most;
}
/// Whether `value` is in [least, most]; reports it otherwise.
__device__ inline bool is_within(Fault* fault, FaultName name, int64_t row, int64_t value,
                                 int64_t least, int64_t most) {
  if (value >= least && value <= most) return true;
  report(fault, name, row, value, least, most);
  return false;
}

}  // namespace troupe::kernels::cuda
