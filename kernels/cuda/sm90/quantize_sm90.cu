#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/quantize_sm90.h"
#include "kernels/cuda/sm90/tile_codes.cuh"

namespace troupe::kernels::cuda {

namespace {

/// Which rows a tile has: those of x that lie there, those that an index names, or these times a
/// weight, rounded to bfloat16.
enum class Read { rows, gathered, weighed };

struct TileSource {
  const uint16_t* x;
  int64_t x_stride;
  const int32_t* index;
  int64_t table_rows;
  const float* weights;
};

__device__ inline uint32_t weighed_pair(uint32_t pair, float weight) {
  return bf16_pair(__fmul_rn(weight, lower_bf16(pair)), __fmul_rn(weight, upper_bf16(pair)));
}

/// Eight columns of row `row`.
template <Read kRead>
__device__ inline uint4 eight_of(const TileSource& source, int64_t row, int col) {
  if constexpr (kRead == Read::rows) {
    return __ldcs(reinterpret_cast<const uint4*>(source.x + row * source.x_stride + col));
  }
  const int64_t from = __ldg(source.index + row);
  // Who gathered the codes of these rows has reported it.
  if (from < 0 || from >= source.table_rows) return make_uint4(0, 0, 0, 0);
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(source.x + from * source.x_stride + col));
  if constexpr (kRead == Read::gathered) return v;
  const float weight = __ldg(source.weights + row);
  return make_uint4(weighed_pair(v.x, weight), weighed_pair(v.y, weight),
                    weighed_pair(v.z, weight), weighed_pair(v.w, weight));
}

/// Rows that are gathered are read by columns of tiles: those of a table stay in the cache while
/// every expert reads them.
template <ScaleOf kScaleOf, Made kMade, Quotient kQuotient, Read kRead>
__global__ void __launch_bounds__(tile_threads, 3)
    quantize_tile(const TileSource source, const TileGroups groups, const TileOut out,
                  int matrix_tiles) {
  __shared__ TileShared shared;
  CodesTile place;
  const int x = static_cast<int>(blockIdx.x), y = static_cast<int>(blockIdx.y);
  if (!(kRead == Read::rows ? place.find(groups, y, x) : place.find(groups, x, y))) return;
  if constexpr (kScaleOf == ScaleOf::block) {
    place.matrix = place.tile / matrix_tiles;
    place.tile_of_matrix = place.tile - place.matrix * matrix_tiles;
  }
  // Whole tiles take a way without questions.
  const bool whole = place.is_whole(out.cols);
  const int rows = place.rows(out.cols), col = place.col();
  const int64_t row = place.row();
  uint4 v[8];
  if (whole) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = eight_of<kRead>(source, row + i, col);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      v[i] = i < rows ? eight_of<kRead>(source, row + i, col) : make_uint4(0, 0, 0, 0);
    }
  }
  make_codes<kScaleOf, kMade, kQuotient>(shared, out, place, v);
}

struct TileWork {
  const char* what;
  TileSource source;
  TileGroups groups;
  TileOut out;
  int64_t tiles;  ///< rows of tiles
  int matrix_tiles;
};

template <ScaleOf kScaleOf, Made kMade, Read kRead>
void run(const TileWork& work, cudaStream_t stream) {
  const auto across = static_cast<unsigned>((work.out.cols + 127) / 128);
  const auto down = static_cast<unsigned>(work.tiles);
  const dim3 grid = kRead == Read::rows ? dim3(across, down) : dim3(down, across);
  const Quotient quotient = quotient_for(work.out.power_of_two, work.out.least_amax);
  const auto kernel = quotient == Quotient::power
                          ? quantize_tile<kScaleOf, kMade, Quotient::power, kRead>
                      : quotient == Quotient::refined
                          ? quantize_tile<kScaleOf, kMade, Quotient::refined, kRead>
                          : quantize_tile<kScaleOf, kMade, Quotient::lifted, kRead>;
  launch(work.what, kernel, grid, tile_threads, 0, 0, stream, work.source, work.groups, work.out,
         work.matrix_tiles);
}

template <ScaleOf kScaleOf>
void run(const TileWork& work, cudaStream_t stream) {
  if (work.out.transposed == nullptr) {
    return run<kScaleOf, Made::straight, Read::rows>(work, stream);
  }
  if (work.out.codes == nullptr) return run<kScaleOf, Made::turned, Read::rows>(work, stream);
  run<kScaleOf, Made::both, Read::rows>(work, stream);
}

void run_gathered(const TileWork& work, cudaStream_t stream) {
  if (work.out.transposed == nullptr) {
    throw KernelError(std::string(work.what) + " has an index and no columns, wanted both");
  }
  const bool weighs = work.source.weights != nullptr;
  if (weighs != (work.out.codes != nullptr)) {
    throw KernelError(std::string(work.what) +
                      " has an index, wanted weights and rows with it or neither");
  }
  weighs ? run<ScaleOf::line, Made::both, Read::weighed>(work, stream)
         : run<ScaleOf::line, Made::turned, Read::gathered>(work, stream);
}

}  // namespace

void quantize_sm90(const QuantizeSm90Args& args, cudaStream_t stream) {
  if (args.M == 0) return;
  expect_multiple("quantize_sm90 K", args.K, 16);
  expect_multiple("quantize_sm90 x_stride", args.x_stride, 8);
  const bool grouped = args.row_offsets != nullptr;
  const int64_t tiles = grouped ? args.blocks : (args.M + 127) / 128;
  if (tiles == 0) return;
  const TileWork work{
      .what = "quantize_sm90",
      .source = {.x = args.x, .x_stride = args.x_stride, .index = args.index,
                 .table_rows = args.table_rows, .weights = args.weights},
      .groups = {.rows = static_cast<int>(args.M), .groups = args.groups,
                 .row_offsets = args.row_offsets, .block_offsets = args.block_offsets},
      .out = {.cols = static_cast<int>(args.K),
              .power_of_two = args.power_of_two,
              .least_amax = args.least_amax,
              .codes = args.rows,
              .codes_stride = args.K,
              .scales = args.row_scales,
              .scales_stride = args.row_scales_stride,
              .transposed = args.columns,
              .transposed_stride = 128 * tiles,
              .transposed_scales = args.column_scales,
              .transposed_scales_stride = args.column_scales_stride},
      .tiles = tiles,
      .matrix_tiles = static_cast<int>(tiles)};
  args.index ? run_gathered(work, stream) : run<ScaleOf::line>(work, stream);
}

void quantize_blocks_sm90(const QuantizeBlocksSm90Args& args, cudaStream_t stream) {
  if (args.N == 0 || args.groups == 0) return;
  expect_multiple("quantize_blocks_sm90 K", args.K, 16);
  expect_multiple("quantize_blocks_sm90 w_stride", args.w_stride, 8);
  if (args.groups > 1) expect_multiple("quantize_blocks_sm90 N of groups", args.N, 128);
  const int64_t down = (args.N + 127) / 128;
  run<ScaleOf::block>(
      {.what = "quantize_blocks_sm90",
       .source = {.x = args.w, .x_stride = args.w_stride, .index = nullptr, .table_rows = 0,
                  .weights = nullptr},
       .groups = {.rows = static_cast<int>(args.groups * args.N), .groups = 1,
                  .row_offsets = nullptr, .block_offsets = nullptr},
       .out = {.cols = static_cast<int>(args.K),
               .power_of_two = args.power_of_two,
               .least_amax = args.least_amax,
               .codes = args.codes,
               .codes_stride = args.K,
               .scales = args.scales,
               .scales_stride = args.scales_stride,
               .transposed = args.transposed,
               .transposed_stride = (args.N + 15) / 16 * 16,
               .transposed_scales = args.transposed_scales,
               .transposed_scales_stride = args.transposed_scales_stride},
       .tiles = args.groups * down,
       .matrix_tiles = static_cast<int>(down)},
      stream);
}

}  // namespace troupe::kernels::cuda
