#include "kernels/ops/embedding.h"

#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

__global__ void embed_kernel(const int32_t* ids, Rows<const float> weight, Rows<float> y, int64_t D,
                             int64_t V, Fault* fault) {
  const int64_t t = blockIdx.x;
  const int64_t id = ids[t];
  if (!is_within(fault, FaultName::embed, t, id, 0, V - 1)) return;
  for (int64_t i = threadIdx.x; i < D; i += blockDim.x) y[t][i] = weight[id][i];
}

/// A block has the token `t`. Where t is the first of its id, the block adds the rows of all tokens
/// of that id, ascending: one chain a column, as on the CPU.
__global__ void add_rows_kernel(const int32_t* ids, Rows<const float> dy, Rows<float> dweight,
                                int64_t T, int64_t D, int64_t V, Fault* fault) {
  const int64_t t = blockIdx.x;
  const int32_t id = ids[t];
  if (!is_within(fault, FaultName::embed_backward_weights, t, id, 0, V - 1)) return;
  bool is_before = false;
  for (int64_t i = threadIdx.x; i < t && !is_before; i += blockDim.x) is_before = ids[i] == id;
  if (__syncthreads_or(is_before)) return;
  __shared__ int here[256];
  for (int64_t first = t; first < T; first += blockDim.x) {
    const int64_t i = first + threadIdx.x;
    const bool is_mine = i < T && ids[i] == id;
    here[threadIdx.x] = is_mine;
    if (!__syncthreads_or(is_mine)) continue;
    for (int64_t column = threadIdx.x; column < D; column += blockDim.x) {
      float sum = dweight[id][column];
      for (unsigned k = 0; k < blockDim.x; ++k) {
        if (here[k]) sum = __fadd_rn(sum, dy[first + k][column]);
      }
      dweight[id][column] = sum;
    }
    __syncthreads();
  }
}

}  // namespace

void embed(Queue& queue, const EmbedArgs& args) {
  const int64_t T = args.y.rows(), D = args.y.cols(), V = args.weight.rows();
  if (T == 0) return;
  const int32_t* const ids = rows_of<int32_t>("embed ids", args.ids).data;
  const auto weight = rows_of<float>("embed weight", args.weight);
  const auto y = rows_of<float>("embed y", args.y);
  enqueue(queue, "embed", [=](CUstream_st* stream, Fault* fault) {
    embed_kernel<<<static_cast<unsigned>(T), 128, 0, stream>>>(ids, weight, y, D, V, fault);
  });
}

void embed_backward_weights(Queue& queue, const EmbedWeightGradientArgs& args) {
  const int64_t T = args.dy.rows(), D = args.dy.cols(), V = args.dweight.rows();
  const int32_t* const ids = rows_of<int32_t>("embed_backward_weights ids", args.ids).data;
  const auto dy = rows_of<float>("embed_backward_weights dy", args.dy);
  const auto dweight = rows_of<float>("embed_backward_weights dweight", args.dweight);
  for_each(queue, "embed_backward_weights", V * D,
           [=] __device__(int64_t i) { dweight[i / D][i % D] = 0.0f; });
  if (T == 0) return;
  // Every block reads all ids: not from the host's memory.
  const Buffer copy = allocate(Device::cuda, DType::i32, {T});
  enqueue(queue, "embed_backward_weights", [=](CUstream_st* stream, Fault* fault) {
    int32_t* const near = values<int32_t>(copy.view);
    check(cudaMemcpyAsync(near, ids, static_cast<size_t>(T) * sizeof(int32_t), cudaMemcpyDefault,
                          stream),
          "embed_backward_weights");
    add_rows_kernel<<<static_cast<unsigned>(T), 256, 0, stream>>>(near, dy, dweight, T, D, V,
                                                                  fault);
  });
}

}  // namespace troupe::kernels::cuda
