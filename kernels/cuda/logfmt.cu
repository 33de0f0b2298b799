#include "kernels/ops/logfmt.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

#define TROUPE_SCALAR __device__ inline
#include "kernels/math/logfmt_tile.inl"
#undef TROUPE_SCALAR

}  // namespace

/// A thread a tile: for experiments.
void round_logfmt(Queue& queue, const RoundLogfmtArgs& args) {
  const int64_t T = args.x.rows(), K = args.x.cols();
  const int64_t tiles = (K + tile_size - 1) / tile_size;
  const auto x = rows_of<float>("round_logfmt x", args.x);
  const auto y = rows_of<float>("round_logfmt y", args.y);
  const int bits = args.bits;
  for_each(queue, "round_logfmt", T * tiles, [=] __device__(int64_t at) {
    const int64_t t = at / tiles, first = at % tiles * tile_size;
    const int64_t count = K - first < tile_size ? K - first : tile_size;
    round_tile(x[t] + first, count, bits, y[t] + first);
  });
}

}  // namespace troupe::kernels::cuda
