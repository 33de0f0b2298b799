#include <algorithm>
#include <string>

#include "kernels/cuda/gemm/gemm_bf16_tiles.cuh"
#include "kernels/cuda/gemm/gemm_bf16_wgmma.h"
#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/tensor_map.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

namespace {

constexpr int tile_cols = 256;

CUtensorMap bf16_map(const char* name, const StridedBf16& matrix, int64_t rows, int64_t cols,
                     int box_rows) {
  return tensor_map(name, {.data = matrix.data,
                           .type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           .element_bytes = 2,
                           .rows = rows,
                           .cols = cols,
                           .row_stride = matrix.stride,
                           .box_rows = box_rows,
                           .box_cols = 64,
                           .swizzled = true});
}

template <bool kOuterA, bool kOuterB, bool kGroupsOfK, typename Result>
void start(const char* what, const CUtensorMap& a, const CUtensorMap& b, const Bf16TilesArgs& args,
           cudaStream_t stream) {
  using Ring = Bf16Ring<tile_cols, 4>;
  static_assert(Ring::bytes <= most_shared_bytes);
  launch(what, bf16_tiles<tile_cols, 4, kOuterA, kOuterB, kGroupsOfK, Result>,
         dim3(multiprocessors), 384, Ring::bytes, 0, stream, a, b, args);
}

/// Calls f(first group, groups) for as many at a time as one launch takes.
template <class F>
void for_launches(size_t groups, F f) {
  for (size_t first = 0; first < groups; first += most_product_groups) {
    f(first, std::min<size_t>(most_product_groups, groups - first));
  }
}

/// Of groups from `first` on.
Bf16TilesArgs tiles_args(const std::vector<int64_t>& offsets, size_t first, size_t groups) {
  Bf16TilesArgs tiles{};
  tiles.groups = static_cast<int>(groups);
  for (size_t g = 0; g <= groups; ++g) tiles.begin[g] = static_cast<int32_t>(offsets[first + g]);
  return tiles;
}

template <bool kOuterB>
void run_rows(const RowsBf16WgmmaArgs& x, cudaStream_t stream) {
  const char* const what = "rows_bf16_wgmma";
  const int64_t R = x.offsets.back();
  const auto groups = static_cast<int64_t>(x.offsets.size()) - 1;
  const int64_t b_rows = (groups - 1) * x.b_group_rows + (kOuterB ? x.K : x.N);
  const CUtensorMap a = bf16_map("rows_bf16_wgmma a", x.a, R, x.K, 128);
  const CUtensorMap b = kOuterB ? bf16_map("rows_bf16_wgmma b", x.b, b_rows, x.N, 64)
                                : bf16_map("rows_bf16_wgmma b", x.b, b_rows, x.K, tile_cols / 2);
  for_launches(static_cast<size_t>(groups), [&](size_t first, size_t count) {
    Bf16TilesArgs tiles = tiles_args(x.offsets, first, count);
    tiles.rows = static_cast<int>(R);
    const int64_t width = x.result == ProductResult::bf16 ? 8 : 2;
    tiles.cols = static_cast<int>((x.N + width - 1) / width * width);
    tiles.k_blocks = static_cast<int>((x.K + 63) / 64);
    tiles.b_group_rows = static_cast<int>(x.b_group_rows);
    tiles.c_stride = x.c_stride;
    tiles.c[0] = x.c;
    CUtensorMap its = b;
    if (first > 0) {
      const StridedBf16 from{x.b.data + static_cast<int64_t>(first) * x.b_group_rows * x.b.stride,
                             x.b.stride};
      const int64_t rows = b_rows - static_cast<int64_t>(first) * x.b_group_rows;
      its = kOuterB ? bf16_map("rows_bf16_wgmma b", from, rows, x.N, 64)
                    : bf16_map("rows_bf16_wgmma b", from, rows, x.K, tile_cols / 2);
    }
    if (x.result == ProductResult::bf16) {
      start<false, kOuterB, false, __nv_bfloat16>(what, a, its, tiles, stream);
    } else if (x.result == ProductResult::f32) {
      start<false, kOuterB, false, float>(what, a, its, tiles, stream);
    } else {
      start<false, kOuterB, false, RoundedBf16>(what, a, its, tiles, stream);
    }
  });
}

}  // namespace

void rows_bf16_wgmma(const RowsBf16WgmmaArgs& args, cudaStream_t stream) {
  if (args.offsets.size() < 2 || args.offsets.back() == 0) return;
  const bool is_bf16 = args.result == ProductResult::bf16;
  expect_multiple("rows_bf16_wgmma c_stride", args.c_stride, is_bf16 ? 8 : 2);
  expect_multiple("rows_bf16_wgmma a stride", args.a.stride, 8);
  expect_multiple("rows_bf16_wgmma b stride", args.b.stride, 8);
  if (!args.transpose_b && args.offsets.size() > 2) {
    expect_multiple("rows_bf16_wgmma K of groups", args.K, 64);
  }
  args.transpose_b ? run_rows<false>(args, stream) : run_rows<true>(args, stream);
}

void weights_bf16_wgmma(const WeightsBf16WgmmaArgs& args, cudaStream_t stream) {
  const char* const what = "weights_bf16_wgmma";
  if (args.offsets.size() < 2 || args.R == 0) return;
  expect_multiple("weights_bf16_wgmma c_stride", args.c_stride, 2);
  expect_multiple("weights_bf16_wgmma a stride", args.a.stride, 8);
  expect_multiple("weights_bf16_wgmma b stride", args.b.stride, 8);
  const CUtensorMap a = bf16_map("weights_bf16_wgmma a", args.a, args.R, args.M, 64);
  const CUtensorMap b = bf16_map("weights_bf16_wgmma b", args.b, args.R, args.N, 64);
  for_launches(args.offsets.size() - 1, [&](size_t first, size_t count) {
    Bf16TilesArgs tiles = tiles_args(args.offsets, first, count);
    tiles.rows = static_cast<int>(args.M);
    tiles.cols = static_cast<int>((args.N + 1) / 2 * 2);
    tiles.c_stride = args.c_stride;
    tiles.fixed = args.fixed;
    for (size_t g = 0; g < count; ++g) tiles.c[g] = args.c[first + g];
    if (args.result == ProductResult::fixed_point) {
      start<true, true, true, FixedPoint>(what, a, b, tiles, stream);
    } else {
      start<true, true, true, float>(what, a, b, tiles, stream);
    }
  });
}

void gemm_bf16_wgmma(const GemmBf16WgmmaArgs& args, cudaStream_t stream) {
  if (args.M == 0) return;
  expect_multiple("gemm_bf16_wgmma N", args.N, 8);
  expect_multiple(args.transpose_a ? "gemm_bf16_wgmma M (a transposed)" : "gemm_bf16_wgmma K",
                  args.transpose_a ? args.M : args.K, 8);
  if (args.transpose_b) expect_multiple("gemm_bf16_wgmma K", args.K, 8);
  if (args.transpose_a && args.transpose_b) {
    throw KernelError("gemm_bf16_wgmma transposes a and b, wanted at most one of them");
  }
  if (args.transpose_a && args.c != nullptr) {
    throw KernelError("gemm_bf16_wgmma transposes a into bfloat16, wanted an f32 result");
  }
  if (args.transpose_a) {
    return weights_bf16_wgmma({.a = {args.a, args.M},
                               .b = {args.b, args.N},
                               .R = args.K,
                               .offsets = {0, args.K},
                               .result = ProductResult::f32,
                               .c = {args.c_f32},
                               .c_stride = args.N,
                               .M = args.M,
                               .N = args.N,
                               .fixed = {}},
                              stream);
  }
  rows_bf16_wgmma({.a = {args.a, args.K},
                   .b = {args.b, args.transpose_b ? args.K : args.N},
                   .transpose_b = args.transpose_b,
                   .b_group_rows = args.transpose_b ? args.N : args.K,
                   .offsets = {0, args.M},
                   .result = args.c != nullptr ? ProductResult::bf16 : ProductResult::f32,
                   .c = args.c != nullptr ? static_cast<void*>(args.c) : args.c_f32,
                   .c_stride = args.N,
                   .N = args.N,
                   .K = args.K},
                  stream);
}

}  // namespace troupe::kernels::cuda
