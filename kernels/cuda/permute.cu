#include "kernels/permute.h"

#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

__global__ void gather_kernel(Rows<const float> x, const int32_t* index, Rows<float> y, int64_t T,
                              int64_t D, Fault* fault) {
  const int64_t r = blockIdx.x;
  const int64_t from = index[r];
  if (!is_within(fault, FaultName::gather_rows, r, from, 0, T - 1)) return;
  for (int64_t i = threadIdx.x; i < D; i += blockDim.x) y[r][i] = x[from][i];
}

/// Rows of one source.
struct CombineSource {
  const float* data;
  int64_t stride;
  int64_t rows;
  bool is_sum;
};

struct CombineShape {
  Rows<const int32_t> source, row, group;
  Rows<const float> weight;
  Rows<float> y;
  int64_t D, K, sources;
  bool rounds_groups;
};

/// False if a table of the token leads outside, or if groups descend, which would break law 2's
/// order.
__device__ bool is_sound(const CombineShape& s, const CombineSource* sources, int64_t t,
                         Fault* fault) {
  for (int64_t k = 0; k < s.K; ++k) {
    const int64_t group = s.group[t][k], source = s.source[t][k];
    if (k > 0 && !is_within(fault, FaultName::combine_rows_group, t, group, s.group[t][k - 1],
                            std::numeric_limits<int32_t>::max())) {
      return false;
    }
    if (source == -1) continue;
    if (!is_within(fault, FaultName::combine_rows_source, t, source, -1, s.sources - 1) ||
        !is_within(fault, FaultName::combine_rows_row, t, s.row[t][k], 0,
                   sources[source].rows - 1)) {
      return false;
    }
  }
  return true;
}

/// A block a token. Its tables come into shared memory once: they may be the host's.
__global__ void combine_kernel(CombineShape s, const CombineSource* sources, Fault* fault) {
  extern __shared__ char memory[];
  const float** const data = reinterpret_cast<const float**>(memory);
  float* const weights = reinterpret_cast<float*>(data + s.K);
  int32_t* const groups = reinterpret_cast<int32_t*>(weights + s.K);
  int32_t* const sums = groups + s.K;
  const int64_t t = blockIdx.x;
  __shared__ bool sound;
  if (threadIdx.x == 0) sound = is_sound(s, sources, t, fault);
  __syncthreads();
  if (!sound) return;
  for (int64_t k = threadIdx.x; k < s.K; k += blockDim.x) {
    const int32_t source = s.source[t][k];
    data[k] = source < 0 ? nullptr : sources[source].data + s.row[t][k] * sources[source].stride;
    sums[k] = source >= 0 && sources[source].is_sum;
    weights[k] = s.weight.data ? s.weight[t][k] : 1.0f;
    groups[k] = s.group[t][k];
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < s.D; i += blockDim.x) {
    float total = 0.0f, sum = 0.0f;
    bool first = true;  // of the groups: `total` begins as its sum
    for (int64_t k = 0; k < s.K; ++k) {
      if (data[k]) {
        const float row = data[k][i];
        sum = sums[k] ? row : s.weight.data ? __fmaf_rn(weights[k], row, sum) : __fadd_rn(sum, row);
      }
      if (k + 1 < s.K && groups[k + 1] == groups[k]) continue;
      if (s.rounds_groups) sum = nearest_bf16(set1(sum)).v;
      total = first ? sum : __fadd_rn(total, sum);
      first = false;
      sum = 0.0f;
    }
    s.y[t][i] = total;
  }
}

template <class T>
void copy_of(Queue& queue, const CopyArgs& args) {
  const int64_t rows = args.x.rows(), D = args.x.cols();
  const auto x = rows_of<T>("copy x", args.x);
  const auto y = rows_of<T>("copy y", args.y);
  for_each(queue, "copy", rows * D,
           [=] __device__(int64_t i) { y[i / D][i % D] = x[i / D][i % D]; });
}

}  // namespace

void gather_rows(Queue& queue, const GatherRowsArgs& args) {
  const int64_t T = args.x.rows(), D = args.x.cols(), R = args.y.rows();
  const auto x = rows_of<float>("gather_rows x", args.x);
  const int32_t* const index = rows_of<int32_t>("gather_rows index", args.index).data;
  const auto y = rows_of<float>("gather_rows y", args.y);
  if (R == 0) return;
  enqueue(queue, "gather_rows", [=](CUstream_st* stream, Fault* fault) {
    gather_kernel<<<static_cast<unsigned>(R), 128, 0, stream>>>(x, index, y, T, D, fault);
  });
}

void combine_rows(Queue& queue, const CombineRowsArgs& args) {
  const int64_t T = args.y.rows();
  std::vector<CombineSource> sources;
  for (size_t s = 0; s < args.rows.size(); ++s) {
    const auto rows = rows_of<float>("combine_rows rows", args.rows[s]);
    sources.push_back({rows.data, rows.stride, args.rows[s].rows(),
                       s < args.are_sums.size() && args.are_sums[s]});
  }
  const CombineShape shape{rows_of<int32_t>("combine_rows source", args.source),
                           rows_of<int32_t>("combine_rows row", args.row),
                           rows_of<int32_t>("combine_rows group", args.group),
                           rows_of<float>("combine_rows weight", args.weight),
                           rows_of<float>("combine_rows y", args.y),
                           args.y.cols(),
                           args.source.cols(),
                           static_cast<int64_t>(sources.size()),
                           args.rounds_groups};
  if (T == 0) return;
  const auto bytes = static_cast<size_t>(shape.K) * (sizeof(float*) + 3 * sizeof(int32_t));
  enqueue(queue, "combine_rows",
          [=, list = SharedList<CombineSource>(sources)](CUstream_st* stream, Fault* fault) {
            combine_kernel<<<static_cast<unsigned>(T), 128, bytes, stream>>>(shape, list.data(),
                                                                             fault);
          });
}

void scale_rows(Queue& queue, const ScaleRowsArgs& args) {
  const int64_t R = args.x.rows(), D = args.x.cols();
  const auto x = rows_of<float>("scale_rows x", args.x);
  const float* const scale = rows_of<float>("scale_rows scale", args.scale).data;
  const auto y = rows_of<float>("scale_rows y", args.y);
  for_each(queue, "scale_rows", R * D, [=] __device__(int64_t i) {
    y[i / D][i % D] = __fmul_rn(scale[i / D], x[i / D][i % D]);
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
  const int64_t T = args.a.rows(), D = args.a.cols();
  const auto a = rows_of<float>("add a", args.a);
  const auto b = rows_of<float>("add b", args.b);
  const auto y = rows_of<float>("add y", args.y);
  for_each(queue, "add", T * D, [=] __device__(int64_t i) {
    y[i / D][i % D] = __fadd_rn(a[i / D][i % D], b[i / D][i % D]);
  });
}

void copy(Queue& queue, const CopyArgs& args) {
  switch (size_of(args.x.dtype)) {
    case 1:
      return copy_of<uint8_t>(queue, args);
    case 2:
      return copy_of<uint16_t>(queue, args);
    case 4:
      return copy_of<uint32_t>(queue, args);
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
