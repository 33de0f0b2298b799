#include "kernels/ops/pack.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

#define TROUPE_SCALAR __device__ inline
#include "kernels/math/small_formats.inl"
#undef TROUPE_SCALAR

}  // namespace

void pack_rows(Queue& queue, const PackRowsArgs& args) {
  const int64_t R = args.x.rows(), D = args.x.cols();
  const auto x = rows_of<float>("pack_rows x", args.x);
  if (args.y.dtype == DType::bf16) {
    const auto y = rows_of<uint16_t>("pack_rows y", args.y);
    for_each(queue, "pack_rows", R * D,
             [=] __device__(int64_t i) { y[i / D][i % D] = to_bf16(x[i / D][i % D]); });
  } else {
    const auto y = rows_of<uint8_t>("pack_rows y", args.y);
    for_each(queue, "pack_rows", R * D,
             [=] __device__(int64_t i) { y[i / D][i % D] = to_e4m3(x[i / D][i % D]); });
  }
}

void unpack_rows(Queue& queue, const UnpackRowsArgs& args) {
  const int64_t R = args.x.rows(), D = args.x.cols(), tile = args.tile;
  const auto y = rows_of<float>("unpack_rows y", args.y);
  const auto scales = rows_of<float>("unpack_rows scales", args.scales);
  const bool is_bf16 = args.x.dtype == DType::bf16;
  const auto narrow = rows_of<uint8_t>("unpack_rows x", args.x);
  const auto wide = rows_of<uint16_t>("unpack_rows x", args.x);
  for_each(queue, "unpack_rows", R * D, [=] __device__(int64_t i) {
    const int64_t r = i / D, d = i % D;
    const float x = is_bf16 ? of_bf16(wide[r][d]) : of_e4m3(narrow[r][d]);
    y[r][d] = scales.data ? __fmul_rn(x, scales[r][d / tile]) : x;
  });
}

}  // namespace troupe::kernels::cuda
