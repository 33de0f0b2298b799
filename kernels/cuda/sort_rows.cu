#include "kernels/ops/sort_rows.h"

#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

constexpr int chunk = 128;           // tokens of a block, a thread each
constexpr int words = chunk / 32;    // of a bit a token

struct SortShape {
  Rows<const int32_t> ids;
  const int32_t* owner;
  Rows<int32_t> source, row, group;
  int32_t *index, *slot, *counts;
  int32_t* of_chunks;  // [chunks, E]: rows of each expert, then how many chunks before have
  int32_t *first, *within;  // [E]: an expert's first row among all, and at its source
  int64_t T;
  int K, E, group_experts, chunks;
};

/// Calls f(k, id) for the choices of this thread's token that lead to an expert.
template <class F>
__device__ void for_choices(const SortShape& s, Fault* fault, F f) {
  const int64_t t = blockIdx.x * int64_t{chunk} + threadIdx.x;
  if (t >= s.T) return;
  for (int k = 0; k < s.K; ++k) {
    const int id = s.ids[t][k];
    if (is_within(fault, FaultName::sort_rows, t, id, 0, s.E - 1)) f(t, k, id);
  }
}

__global__ void count_kernel(SortShape s, Fault* fault) {
  extern __shared__ int32_t counts[];
  for (int e = threadIdx.x; e < s.E; e += chunk) counts[e] = 0;
  __syncthreads();
  for_choices(s, fault, [&](int64_t, int, int id) { atomicAdd(counts + id, 1); });
  __syncthreads();
  for (int e = threadIdx.x; e < s.E; e += chunk) s.of_chunks[blockIdx.x * int64_t{s.E} + e] = counts[e];
}

/// One block, a thread an expert at a time.
__global__ void scan_kernel(SortShape s) {
  extern __shared__ int32_t counts[];
  for (int e = threadIdx.x; e < s.E; e += blockDim.x) {
    int32_t sum = 0;
#pragma unroll 8
    for (int c = 0; c < s.chunks; ++c) {
      int32_t& its = s.of_chunks[c * int64_t{s.E} + e];
      const int32_t count = its;
      its = sum;
      sum += count;
    }
    counts[e] = sum;
    s.counts[e] = sum;
  }
  __syncthreads();
  for (int e = threadIdx.x; e < s.E; e += blockDim.x) {
    const int32_t owner = s.owner[e];
    int32_t before = 0, within = 0;
    for (int other = 0; other < s.E; ++other) {
      const int32_t its = s.owner[other];
      if (its < owner) before += counts[other];
      if (its == owner && other < e) within += counts[other];
    }
    s.first[e] = before + within;
    s.within[e] = within;
  }
}

/// How many tokens of the block before a thread's have its expert: by a bit a token.
__global__ void place_kernel(SortShape s, Fault* fault) {
  extern __shared__ uint32_t bits[];  // [E, words]
  for (int i = threadIdx.x; i < s.E * words; i += chunk) bits[i] = 0;
  __syncthreads();
  const int word = static_cast<int>(threadIdx.x) / 32;
  const uint32_t mine = 1u << threadIdx.x % 32;
  for_choices(s, fault, [&](int64_t, int, int id) { atomicOr(bits + id * words + word, mine); });
  __syncthreads();
  for_choices(s, fault, [&](int64_t t, int k, int id) {
    int32_t rank = __popc(bits[id * words + word] & (mine - 1));
    for (int w = 0; w < word; ++w) rank += __popc(bits[id * words + w]);
    rank += s.of_chunks[blockIdx.x * int64_t{s.E} + id];
    const int32_t at = s.first[id] + rank;
    s.index[at] = static_cast<int32_t>(t);
    s.slot[at] = static_cast<int32_t>(t * s.K + k);
    s.source[t][k] = s.owner[id];
    s.row[t][k] = s.within[id] + rank;
    s.group[t][k] = id / s.group_experts;
  });
}

}  // namespace

void sort_rows(Queue& queue, const SortRowsArgs& args) {
  const int64_t T = args.expert_ids.rows();
  const auto E = static_cast<int64_t>(args.owner.size());
  const unsigned chunks = blocks_for(T, chunk);
  const Buffer memory = allocate(Device::cuda, DType::i32, {int64_t{chunks} * E + 2 * E});
  SortShape shape{rows_of<int32_t>("sort_rows expert_ids", args.expert_ids),
                  nullptr,
                  rows_of<int32_t>("sort_rows source", args.source),
                  rows_of<int32_t>("sort_rows row", args.row),
                  rows_of<int32_t>("sort_rows group", args.group),
                  rows_of<int32_t>("sort_rows index", args.index).data,
                  rows_of<int32_t>("sort_rows slot", args.slot).data,
                  rows_of<int32_t>("sort_rows counts", args.counts).data,
                  values<int32_t>(memory.view),
                  values<int32_t>(memory.view) + int64_t{chunks} * E,
                  values<int32_t>(memory.view) + int64_t{chunks} * E + E,
                  T,
                  static_cast<int>(args.expert_ids.cols()),
                  static_cast<int>(E),
                  static_cast<int>(E / args.groups),
                  static_cast<int>(chunks)};
  if (E == 0) return;
  enqueue(queue, "sort_rows",
          [=, owner = NearList<int32_t>(args.owner)](CUstream_st* stream, Fault* fault) {
            SortShape s = shape;
            s.owner = owner.bring(stream);
            const size_t bytes = static_cast<size_t>(E) * sizeof(int32_t);
            // The same for everybody: other threads launch it too.
            constexpr int most_bytes = int{most_sorted_experts} * words * int{sizeof(int32_t)};
            check(cudaFuncSetAttribute(place_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_bytes),
                  "sort_rows");
            if (chunks > 0) count_kernel<<<chunks, chunk, bytes, stream>>>(s, fault);
            scan_kernel<<<1, 256, bytes, stream>>>(s);
            if (chunks > 0) place_kernel<<<chunks, chunk, words * bytes, stream>>>(s, fault);
          });
  queue.launch([memory](const GpuLane&) {});  // it stays until the stream has passed
}

}  // namespace troupe::kernels::cuda
