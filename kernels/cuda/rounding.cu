#include "kernels/ops/rounding.h"

#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/rounding.h"

namespace troupe::kernels::cuda {
namespace {

struct TileMatrix {
  TileRule rule;
  Rows<const float> x;
  Rows<float> y;
  Rows<float> scales;
  int64_t T, K, tile_rows, tile_cols;

  __device__ TileBand band(const TileBand* bands) const {
    if (bands) return bands[blockIdx.x];
    const int64_t first = blockIdx.x * tile_rows;
    return {first, min(tile_rows, T - first)};
  }
  __device__ void write(int64_t row, int64_t col, F16 scale) const {
    const F16 code = encode_lanes(rule, set1(x[row][col]), scale);
    y[row][col] = scales.data ? code.v : (code * scale).v;
  }
};

/// A block a tile: the greatest number needs no order.
__global__ void encode_wide_kernel(TileMatrix m, const TileBand* bands) {
  const TileBand band = m.band(bands);
  const int64_t first = blockIdx.y * m.tile_cols;
  const int64_t cols = min(m.tile_cols, m.K - first), count = band.rows * cols;
  TileExtent extent{zero(), zero()};
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    extend(extent, set1(m.x[band.first + i / cols][first + i % cols]));
  }
  for (int width = 16; width > 0; width /= 2) {
    const F16 amax = set1(__shfl_xor_sync(0xffffffffu, extent.amax.v, width));
    const F16 trouble = set1(__shfl_xor_sync(0xffffffffu, extent.trouble.v, width));
    extent = {greater_of(amax, extent.amax), extent.trouble + trouble};
  }
  __shared__ TileExtent of_warps[32];
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = extent;
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / 32; ++w) {
    extent = {greater_of(of_warps[w].amax, extent.amax), extent.trouble + of_warps[w].trouble};
  }
  const F16 scale = scale_lanes(m.rule, extent);
  if (threadIdx.x == 0 && m.scales.data) m.scales[blockIdx.x][blockIdx.y] = scale.v;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    m.write(band.first + i / cols, first + i % cols, scale);
  }
}

/// A thread a column of a band.
__global__ void encode_narrow_kernel(TileMatrix m, const TileBand* bands) {
  const int64_t col = blockIdx.y * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (col >= m.K) return;
  const TileBand band = m.band(bands);
  TileExtent extent{zero(), zero()};
  for (int64_t r = 0; r < band.rows; ++r) extend(extent, set1(m.x[band.first + r][col]));
  const F16 scale = scale_lanes(m.rule, extent);
  if (m.scales.data) m.scales[blockIdx.x][col] = scale.v;
  for (int64_t r = 0; r < band.rows; ++r) m.write(band.first + r, col, scale);
}

/// A tile by a half-warp, eight neighbours a thread.
template <bool kVector>
__global__ void round_rows_kernel(TileRule rule, Rows<const uint16_t> x, Rows<uint16_t> y,
                                  int64_t T, int K, int tiles) {
  const int64_t item = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 16;
  const int64_t row = item / tiles;
  const int first = static_cast<int>(item % tiles * 16 + threadIdx.x % 16) * neighbours;
  const int n = row < T ? max(0, min(neighbours, K - first)) : 0;
  float v[neighbours] = {};
  if (n > 0) load_row<kVector>(x[row] + first, n, v);
  TileExtent extent{zero(), zero()};
#pragma unroll
  for (int i = 0; i < neighbours; ++i) extend(extent, set1(v[i]));
  for (int width = 8; width > 0; width /= 2) {
    const F16 amax = set1(__shfl_xor_sync(0xffffffffu, extent.amax.v, width));
    const F16 trouble = set1(__shfl_xor_sync(0xffffffffu, extent.trouble.v, width));
    extent = {greater_of(amax, extent.amax), extent.trouble + trouble};
  }
  const F16 scale = scale_lanes(rule, extent);
#pragma unroll
  for (int i = 0; i < neighbours; ++i) v[i] = (encode_lanes(rule, set1(v[i]), scale) * scale).v;
  if (n > 0) store_row<kVector>(y[row] + first, n, v);
}

}  // namespace

void round_rows(Queue& queue, const RoundRowsArgs& args) {
  const int64_t T = args.x.rows(), K = args.x.cols();
  const auto x = rows_of<uint16_t>(args.what, args.x);
  const auto y = rows_of<uint16_t>(args.what, args.y);
  const auto tiles = static_cast<int>(tiles_over(K, 128));
  const bool in_eights = are_in_eights({args.x, args.y});
  enqueue(queue, args.what, [=, rule = args.rule](CUstream_st* stream, Fault*) {
    const auto kernel = in_eights ? round_rows_kernel<true> : round_rows_kernel<false>;
    kernel<<<blocks_for(T * tiles, 16), 256, 0, stream>>>(rule, x, y, T, static_cast<int>(K), tiles);
  });
}

void encode_tiles(Queue& queue, const EncodeTilesArgs& args) {
  const TileMatrix m{args.rule,
                     rows_of<float>(args.what, args.x),
                     rows_of<float>(args.what, args.y),
                     rows_of<float>(args.what, args.scales),
                     args.x.rows(),
                     args.x.cols(),
                     std::min(args.tile_rows, args.x.rows()),
                     std::min(args.tile_cols, args.x.cols())};
  const bool is_narrow = m.tile_cols == 1;
  const int64_t down =
      args.bands.empty() ? tiles_over(m.T, m.tile_rows) : static_cast<int64_t>(args.bands.size());
  const int64_t across = tiles_over(m.K, is_narrow ? 128 : m.tile_cols);
  if (across > 65535) {
    throw KernelError(std::string(args.what) + " has " + std::to_string(across) +
                      " tiles in a row, wanted 65535 at most on the GPU");
  }
  const dim3 grid(static_cast<unsigned>(down), static_cast<unsigned>(across));
  if (args.bands.empty()) {
    enqueue(queue, args.what, [=](CUstream_st* stream, Fault*) {
      (is_narrow ? encode_narrow_kernel : encode_wide_kernel)<<<grid, 128, 0, stream>>>(m, nullptr);
    });
  } else {
    enqueue(queue, args.what,
            [=, bands = SharedList<TileBand>(args.bands)](CUstream_st* stream, Fault*) {
              (is_narrow ? encode_narrow_kernel : encode_wide_kernel)<<<grid, 128, 0, stream>>>(
                  m, bands.data());
            });
  }
}

void round_bf16(Queue& queue, const RoundBf16Args& args) {
  const auto x = rows_of<float>("round_bf16 x", args.x);
  const auto y = rows_of<float>("round_bf16 y", args.y);
  for_each_eight(queue, "round_bf16", args.x.rows(), args.x.cols(), are_in_eights({args.x, args.y}),
                 [=] __device__(int64_t r, int first, int n, auto vector) {
                   float v[neighbours];
                   load_row<vector.value>(x[r] + first, n, v);
#pragma unroll
                   for (int i = 0; i < neighbours; ++i) v[i] = nearest_bf16(set1(v[i])).v;
                   store_row<vector.value>(y[r] + first, n, v);
                 });
}

}  // namespace troupe::kernels::cuda
