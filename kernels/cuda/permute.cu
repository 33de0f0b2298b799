#include "kernels/ops/permute.h"

#include <algorithm>

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/lane.cuh"

namespace troupe::kernels::cuda {
namespace {

/// A block a row.
template <bool kVector, class From, class To>
__global__ void gather_kernel(Rows<const From> x, const int32_t* index, Rows<To> y, int64_t T,
                              int D, Fault* fault) {
  const int64_t r = blockIdx.x;
  const int64_t from = index[r];
  if (!is_within(fault, FaultName::gather_rows, r, from, 0, T - 1)) return;
  for (int i = static_cast<int>(threadIdx.x) * neighbours; i < D;
       i += static_cast<int>(blockDim.x) * neighbours) {
    float v[neighbours];
    const int n = min(neighbours, D - i);
    load_row<kVector>(x[from] + i, n, v);
    store_row<kVector>(y[r] + i, n, v);
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
  const unsigned threads = static_cast<unsigned>(std::max(32, threads_of_row(D)));
  enqueue(queue, "gather_rows",
          [=, table = NearTable(args.index)](CUstream_st* stream, Fault* fault) {
            const int32_t* const index = table.bring(stream);
            const auto kernel = in_eights ? gather_kernel<true, From, To> : gather_kernel<false, From, To>;
            kernel<<<static_cast<unsigned>(R), threads, 0, stream>>>(x, index, y, T, D, fault);
          });
}

/// Rows of one source.
struct CombineSource {
  const void* data;
  int64_t stride;
  int64_t rows;
  bool is_sum;
  bool is_bf16;
};

struct CombineShape {
  Rows<const int32_t> source, row, group;
  Rows<const float> weight;
  Rows<float> y;
  int64_t D, K, sources;
  bool rounds_groups;
  bool in_eights;
  bool is_bf16;  ///< all rows, in whole eights
};

/// Whether entry k of the token's tables leads somewhere, and its group does not descend, which
/// would break law 2's order.
__device__ bool is_sound(const CombineShape& s, const CombineSource* sources, int64_t t, int64_t k,
                         Fault* fault) {
  const int64_t group = s.group[t][k], source = s.source[t][k];
  if (k > 0 && !is_within(fault, FaultName::combine_rows_group, t, group, s.group[t][k - 1],
                          std::numeric_limits<int32_t>::max())) {
    return false;
  }
  return source == -1 ||
         (is_within(fault, FaultName::combine_rows_source, t, source, -1, s.sources - 1) &&
          is_within(fault, FaultName::combine_rows_row, t, s.row[t][k], 0,
                    sources[source].rows - 1));
}

/// What stands in shared memory of one of a token's rows.
struct CombineRow {
  const void* data;  ///< null: nothing
  float weight;
  int32_t group;
  bool is_sum, is_bf16;
};

__device__ CombineRow row_of(const CombineShape& s, const CombineSource* sources, int64_t t,
                             int64_t k) {
  const int32_t source = s.source[t][k];
  CombineRow row{nullptr, s.weight.data ? s.weight[t][k] : 1.0f, s.group[t][k], false, false};
  if (source < 0) return row;
  const CombineSource& from = sources[source];
  const int64_t at = s.row[t][k] * from.stride * (from.is_bf16 ? 2 : 4);
  row.data = static_cast<const char*>(from.data) + at;
  row.is_sum = from.is_sum;
  row.is_bf16 = from.is_bf16;
  return row;
}

template <bool kVector>
__device__ void load_columns(const CombineRow& row, int first, int n, float (&v)[neighbours]) {
  if (row.is_bf16) {
    load_row<kVector>(static_cast<const uint16_t*>(row.data) + first, n, v);
  } else if (row.data) {
    load_row<kVector>(static_cast<const float*>(row.data) + first, n, v);
  }
}

/// The sums of eight columns of a token, its rows added in their order.
class CombinedColumns {
 public:
  /// `ends_group`: the next row is of another group, or there is none.
  __device__ void add(const CombineShape& s, const CombineRow& row, bool ends_group,
                      const float (&v)[neighbours]) {
    if (row.data) {
#pragma unroll
      for (int i = 0; i < neighbours; ++i) {
        sum_[i] = row.is_sum      ? v[i]
                  : s.weight.data ? __fmaf_rn(row.weight, v[i], sum_[i])
                                  : __fadd_rn(sum_[i], v[i]);
      }
    }
    if (!ends_group) return;
#pragma unroll
    for (int i = 0; i < neighbours; ++i) {
      const float x = s.rounds_groups ? nearest_bf16(set1(sum_[i])).v : sum_[i];
      total_[i] = is_first_ ? x : __fadd_rn(total_[i], x);
      sum_[i] = 0.0f;
    }
    is_first_ = false;
  }
  __device__ const float (&total() const)[neighbours] { return total_; }

 private:
  float total_[neighbours] = {}, sum_[neighbours] = {};
  bool is_first_ = true;  // of the groups: `total_` begins as its sum
};

__device__ bool ends_group(const CombineShape& s, const CombineRow* rows, int64_t k) {
  return k + 1 == s.K || rows[k + 1].group != rows[k].group;
}

template <bool kVector>
__device__ void combine_columns(const CombineShape& s, const CombineRow* rows, int64_t t, int first,
                                int n) {
  CombinedColumns sums;
  for (int64_t k = 0; k < s.K; ++k) {
    float v[neighbours] = {};
    load_columns<kVector>(rows[k], first, n, v);
    sums.add(s, rows[k], ends_group(s, rows, k), v);
  }
  store_row<kVector>(s.y[t] + first, n, sums.total());
}

/// Of rows in bf16, in whole eights: eight of them are read before the first is used.
__device__ void combine_columns_of_bf16(const CombineShape& s, const CombineRow* rows, int64_t t,
                                        int first) {
  constexpr int ahead = 8;
  CombinedColumns sums;
  for (int64_t k = 0; k < s.K; k += ahead) {
    SixteenBytes packed[ahead];
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      packed[j] = {};
      if (k + j >= s.K || !rows[k + j].data) continue;
      packed[j] = *reinterpret_cast<const SixteenBytes*>(
          static_cast<const uint16_t*>(rows[k + j].data) + first);
    }
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      if (k + j >= s.K) break;
      float v[neighbours];
#pragma unroll
      for (int i = 0; i < neighbours / 2; ++i) {
        v[2 * i] = __uint_as_float(packed[j].word[i] << 16);
        v[2 * i + 1] = __uint_as_float(packed[j].word[i] & 0xffff0000u);
      }
      sums.add(s, rows[k + j], ends_group(s, rows, k + j), v);
    }
  }
  store_row<true>(s.y[t] + first, neighbours, sums.total());
}

/// A block a token. Its tables come into shared memory once.
__global__ void combine_kernel(CombineShape s, const CombineSource* sources, Fault* fault) {
  extern __shared__ CombineRow rows[];
  const int64_t t = blockIdx.x;
  bool sound = true;
  for (int64_t k = threadIdx.x; k < s.K; k += blockDim.x) {
    sound = is_sound(s, sources, t, k, fault) && sound;
  }
  if (!__syncthreads_and(sound)) return;
  for (int64_t k = threadIdx.x; k < s.K; k += blockDim.x) rows[k] = row_of(s, sources, t, k);
  __syncthreads();
  for (int64_t i = threadIdx.x * neighbours; i < s.D; i += blockDim.x * neighbours) {
    const int n = static_cast<int>(min(int64_t{neighbours}, s.D - i));
    if (s.is_bf16) {
      combine_columns_of_bf16(s, rows, t, static_cast<int>(i));
    } else if (s.in_eights) {
      combine_columns<true>(s, rows, t, static_cast<int>(i), n);
    } else {
      combine_columns<false>(s, rows, t, static_cast<int>(i), n);
    }
  }
}

/// A thread a token, of rows so narrow that a block would have work for one thread.
__global__ void combine_narrow_kernel(CombineShape s, const CombineSource* sources, int64_t T,
                                      Fault* fault) {
  const int64_t t = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (t >= T) return;
  for (int64_t k = 0; k < s.K; ++k) {
    if (!is_sound(s, sources, t, k, fault)) return;
  }
  const int n = static_cast<int>(s.D);
  CombinedColumns sums;
  for (int64_t k = 0; k < s.K; ++k) {
    float v[neighbours] = {};
    const CombineRow row = row_of(s, sources, t, k);
    load_columns<false>(row, 0, n, v);
    sums.add(s, row, k + 1 == s.K || s.group[t][k + 1] != row.group, v);
  }
  store_row<false>(s.y[t], n, sums.total());
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

void combine_rows(Queue& queue, const CombineRowsArgs& args) {
  const int64_t T = args.y.rows();
  if (T == 0) return;
  bool in_eights = are_in_eights({args.y}), is_bf16 = true;
  std::vector<CombineSource> sources;
  for (size_t s = 0; s < args.rows.size(); ++s) {
    const ConstTensor& rows = args.rows[s];
    expect_reachable("combine_rows rows", rows, Device::cuda);
    sources.push_back({rows.data, rows.row_stride, rows.rows(),
                       s < args.are_sums.size() && args.are_sums[s], rows.dtype == DType::bf16});
    if (rows.rows() == 0) continue;
    in_eights = in_eights && are_in_eights({rows});
    is_bf16 = is_bf16 && rows.dtype == DType::bf16;
  }
  const int64_t K = args.source.cols();
  rows_of<int32_t>("combine_rows source", args.source);
  rows_of<int32_t>("combine_rows row", args.row);
  rows_of<int32_t>("combine_rows group", args.group);
  CombineShape shape{{nullptr, K},
                     {nullptr, K},
                     {nullptr, K},
                     rows_of<float>("combine_rows weight", args.weight),
                     rows_of<float>("combine_rows y", args.y),
                     args.y.cols(),
                     K,
                     static_cast<int64_t>(sources.size()),
                     args.rounds_groups,
                     in_eights,
                     in_eights && is_bf16};
  const size_t bytes = static_cast<size_t>(K) * sizeof(CombineRow);
  const unsigned threads =
      static_cast<unsigned>(std::max(32, threads_of_row(args.y.cols())));
  enqueue(queue, "combine_rows",
          [=, list = NearList<CombineSource>(sources), source = NearTable(args.source),
           row = NearTable(args.row), group = NearTable(args.group)](CUstream_st* stream,
                                                                    Fault* fault) {
            CombineShape near = shape;
            near.source.data = source.bring(stream);
            near.row.data = row.bring(stream);
            near.group.data = group.bring(stream);
            const CombineSource* const from = list.bring(stream);
            if (near.D <= neighbours) {
              combine_narrow_kernel<<<blocks_for(T, 128), 128, 0, stream>>>(near, from, T, fault);
              return;
            }
            combine_kernel<<<static_cast<unsigned>(T), threads, bytes, stream>>>(near, from, fault);
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
  const auto y = rows_of<float>("add y", args.y);
  for_each_eight(queue, "add", args.a.rows(), args.a.cols(), are_in_eights({args.a, args.b, args.y}),
                 [=] __device__(int64_t r, int first, int n, auto vector) {
                   float v[neighbours], w[neighbours];
                   load_row<vector.value>(a[r] + first, n, v);
                   load_row<vector.value>(b[r] + first, n, w);
#pragma unroll
                   for (int i = 0; i < neighbours; ++i) v[i] = __fadd_rn(v[i], w[i]);
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
