#include <algorithm>

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels::cuda {
namespace {

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

/// The rows of a token, into shared memory; false if this thread has found one that leads outside.
__device__ bool bring_rows(const CombineShape& s, const CombineSource* sources, int64_t t, CombineRow* rows,
                           Fault* fault) {
  bool sound = true;
  for (int64_t k = threadIdx.x; k < s.K; k += blockDim.x) {
    if (is_sound(s, sources, t, k, fault)) {
      rows[k] = row_of(s, sources, t, k);
    } else {
      sound = false;
    }
  }
  return sound;
}

__device__ void combine_token(const CombineShape& s, const CombineRow* rows, int64_t t) {
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

/// A block a token at a time. Where the next one's rows are is read meanwhile.
__global__ void __launch_bounds__(256, 4)
    combine_kernel(CombineShape s, const CombineSource* sources, int64_t T, Fault* fault) {
  extern __shared__ CombineRow memory[];  // [2, K]
  const auto rows_at = [&](int turn) { return memory + turn * s.K; };
  int64_t t = blockIdx.x;
  bool sound = __syncthreads_and(bring_rows(s, sources, t, rows_at(0), fault));
  for (int turn = 0; t < T; t += gridDim.x, turn ^= 1) {
    const int64_t next = t + gridDim.x;
    const bool its = next >= T || bring_rows(s, sources, next, rows_at(turn ^ 1), fault);
    if (sound) combine_token(s, rows_at(turn), t);
    sound = __syncthreads_and(its);
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

}  // namespace

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
  const size_t bytes = 2 * static_cast<size_t>(K) * sizeof(CombineRow);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(T, 8 * multiprocessors));
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
            combine_kernel<<<blocks, threads, bytes, stream>>>(near, from, T, fault);
          });
}

}  // namespace troupe::kernels::cuda
