#include "kernels/cuda/sm90/swiglu_codes_sm90.h"

#include <algorithm>
#include <string>

#include "kernels/cuda/device/swiglu_math.cuh"
#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/swiglu_forward_codes.cuh"
#include "kernels/cuda/sm90/tile_codes.cuh"

namespace troupe::kernels::cuda {
namespace {

/// Codes of eight columns times their scale.
__device__ inline uint4 decoded(const uint2& codes, float scale) {
  return make_uint4(decoded_pair(codes.x & 0xffff, scale), decoded_pair(codes.x >> 16, scale),
                    decoded_pair(codes.y & 0xffff, scale), decoded_pair(codes.y >> 16, scale));
}

TileOut rows_out(const RowCodes& rows, int64_t D, float least_amax) {
  return {.cols = static_cast<int>(D),
          .power_of_two = false,
          .least_amax = least_amax,
          .codes = rows.codes,
          .codes_stride = D,
          .scales = rows.scales,
          .scales_stride = rows.scales_stride,
          .transposed = nullptr,
          .transposed_stride = 0,
          .transposed_scales = nullptr,
          .transposed_scales_stride = 0};
}

void add_columns(TileOut& out, const ColumnCodes& columns, int64_t D, int64_t blocks) {
  out.transposed = columns.codes;
  out.transposed_stride = 128 * blocks;
  out.transposed_scales = columns.scales;
  out.transposed_scales_stride = D;
}

/// The columns of up, which stand behind the F of gate.
TileOut behind(TileOut out, int64_t F) {
  out.codes += F;
  out.scales += F / 128 * out.scales_stride;
  out.transposed += F * out.transposed_stride;
  out.transposed_scales += F;
  return out;
}

/// Eight lanes make codes of two rows of 128 columns, eight columns of either half a lane. No lane needs numbers
/// of other eights, so that nobody waits for a block. Blocks stay; while a lane computes, its next rows are on their
/// way to a place of its own in shared memory.
__global__ void __launch_bounds__(forward_threads, 3) swiglu_codes_kernel(const SwigluForward args) {
  __shared__ uint4 places[4 * forward_rows][forward_threads];
  const int lane = static_cast<int>(threadIdx.x) % forward_lanes;
  const ForwardPlace place{shared_address(&places[0][threadIdx.x])};
  const int step = static_cast<int>(gridDim.x) * forward_threads / forward_lanes;
  // A warp's four eights of lanes go on together: behind the last part they do it again.
  const int last = args.parts - 1, mine = static_cast<int>(threadIdx.x) / forward_lanes % 4;
  int index = (static_cast<int>(blockIdx.x) * forward_threads + static_cast<int>(threadIdx.x)) / forward_lanes;
  if (index - mine > last) return;
  ForwardPart part(args, min(index, last));
  place.bring(args, part, lane);
  for (; index - mine <= last; index += step) {
    LaneRows gate, up;
    place.take(gate, up);
    const ForwardPart its = part;
    if (index - mine + step <= last) {
      part = ForwardPart(args, min(index + step, last));
      place.bring(args, part, lane);
    }
    make_forward_codes(args, its, lane, gate, up);
  }
}

struct BackwardArgs {
  const uint16_t* dactivated;
  int F;
  const uint8_t* kept;
  const float* kept_scales;
  int64_t kept_scales_stride;
  TileGroups groups;
  TileOut activated, dgate, dup;
};

/// Numbers that wait in shared memory until their turn: eight columns of eight rows a thread.
struct Waiting {
  uint4 eights[8][tile_threads];
};
struct BackwardShared {
  TileShared tile;
  Waiting activated, dup;
};

__device__ inline void take(const Waiting& from, uint4 (&v)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = from.eights[i][threadIdx.x];
}

__global__ void __launch_bounds__(tile_threads, 2)
    swiglu_backward_codes_kernel(const BackwardArgs args) {
  extern __shared__ __align__(16) char memory[];
  auto& shared = *reinterpret_cast<BackwardShared*>(memory);
  CodesTile place;
  if (!place.find(args.groups, static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.x))) return;
  const int rows = place.rows(args.F), col = place.col();
  const int64_t row = place.row(), F = args.F;
  const int64_t up_scales = F / 128 * args.kept_scales_stride;
  uint4 d[8];
  uint2 gate[8], up[8];
  float gate_scale[8], up_scale[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const bool is_there = i < rows;
    const uint8_t* const kept = args.kept + (row + i) * 2 * F + col;
    const float* const scale = args.kept_scales + place.col_tile * args.kept_scales_stride + row + i;
    const auto* const dy = reinterpret_cast<const uint4*>(args.dactivated + (row + i) * F + col);
    d[i] = is_there ? __ldcs(dy) : make_uint4(0, 0, 0, 0);
    gate[i] = is_there ? __ldcs(reinterpret_cast<const uint2*>(kept)) : make_uint2(0, 0);
    up[i] = is_there ? __ldcs(reinterpret_cast<const uint2*>(kept + F)) : make_uint2(0, 0);
    gate_scale[i] = is_there ? __ldg(scale) : 0.0f;
    up_scale[i] = is_there ? __ldg(scale + up_scales) : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float g[8], u[8], dy[8], s[8];
    unpack(decoded(gate[i], gate_scale[i]), g);
    unpack(decoded(up[i], up_scale[i]), u);
    unpack(d[i], dy);
    sigmoids(g, s);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const SwigluDeltas deltas = swiglu_deltas_of(g[j], u[j], dy[j], s[j]);
      g[j] = deltas.activated;
      u[j] = deltas.dup;
      dy[j] = deltas.dgate;
    }
    shared.activated.eights[i][threadIdx.x] = packed(g);
    shared.dup.eights[i][threadIdx.x] = packed(u);
    d[i] = packed(dy);
  }
  make_codes<ScaleOf::line, Made::both, Quotient::lifted>(shared.tile, args.dgate, place, d);
  __syncthreads();
  take(shared.dup, d);
  make_codes<ScaleOf::line, Made::both, Quotient::lifted>(shared.tile, args.dup, place, d);
  __syncthreads();
  take(shared.activated, d);
  make_codes<ScaleOf::line, Made::turned, Quotient::refined>(shared.tile, args.activated, place, d);
}

void expect_refined(const char* what, float least_amax) {
  if (quotient_for(false, least_amax) == Quotient::refined) return;
  throw KernelError(std::string(what) + " is " + std::to_string(least_amax) + ", wanted 2^-60 or more");
}

}  // namespace

void swiglu_codes_sm90(const SwigluCodesSm90Args& args, cudaStream_t stream) {
  if (args.R == 0) return;
  expect_multiple("swiglu_codes_sm90 F", args.F, 128);
  expect_refined("swiglu_codes_sm90 least_amax", args.least_amax);
  const int tiles = static_cast<int>(args.F / 128);
  const int64_t parts = (args.R + forward_rows - 1) / forward_rows * tiles;
  if (parts > most_forward_parts || args.F > most_forward_parts) {
    throw KernelError("swiglu_codes_sm90 has " + std::to_string(args.R) + " rows of " + std::to_string(args.F) +
                      " columns, wanted at most 2^38 numbers, and 2^30 of a row");
  }
  constexpr int of_block = forward_threads / forward_lanes;
  const SwigluForward its{.both = args.both,
                          .R = static_cast<int>(args.R),
                          .F = static_cast<int>(args.F),
                          .tiles = tiles,
                          .parts = static_cast<int>(parts),
                          .least_amax = args.least_amax,
                          .kept = args.kept,
                          .activated = args.activated};
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((parts + of_block - 1) / of_block, forward_blocks));
  launch("swiglu_codes_sm90", swiglu_codes_kernel, dim3(blocks), forward_threads, 0, 0, stream, its);
}

void swiglu_backward_codes_sm90(const SwigluBackwardCodesSm90Args& args, cudaStream_t stream) {
  if (args.R == 0 || args.blocks == 0) return;
  expect_multiple("swiglu_backward_codes_sm90 F", args.F, 128);
  expect_refined("swiglu_backward_codes_sm90 least_amax", args.least_amax);
  TileOut deltas = rows_out(args.rows, 2 * args.F, args.least_gradient);
  add_columns(deltas, args.columns, 2 * args.F, args.blocks);
  TileOut activated = rows_out({}, args.F, args.least_amax);
  add_columns(activated, args.activated, args.F, args.blocks);
  BackwardArgs its{.dactivated = args.dactivated,
                   .F = static_cast<int>(args.F),
                   .kept = args.kept.codes,
                   .kept_scales = args.kept.scales,
                   .kept_scales_stride = args.kept.scales_stride,
                   .groups = {.rows = static_cast<int>(args.R), .groups = args.groups,
                              .row_offsets = args.row_offsets,
                              .block_offsets = args.block_offsets},
                   .activated = activated,
                   .dgate = deltas,
                   .dup = behind(deltas, args.F)};
  its.dgate.cols = its.dup.cols = its.F;
  const dim3 grid(static_cast<unsigned>(args.F / 128), static_cast<unsigned>(args.blocks));
  launch("swiglu_backward_codes_sm90", swiglu_backward_codes_kernel, grid, tile_threads,
         sizeof(BackwardShared), 0, stream, its);
}

}  // namespace troupe::kernels::cuda
