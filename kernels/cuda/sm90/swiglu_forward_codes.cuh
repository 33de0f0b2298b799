// SwiGLU's rows to codes: gate and up, and what they activate.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/quick_math.cuh"
#include "kernels/cuda/sm90/swiglu_codes_sm90.h"
#include "kernels/cuda/sm90/tile_codes.cuh"
#include "kernels/cuda/sm90/tma.cuh"

namespace troupe::kernels::cuda {

struct SwigluForward {
  const uint16_t* both;
  int R, F;
  int tiles;  ///< of 128 columns, of either matrix
  int parts;  ///< how many: two rows of a tile each
  float least_amax;
  RowCodes kept, activated;
};

constexpr int64_t most_forward_parts = int64_t{1} << 30;
constexpr int forward_rows = 2, forward_lanes = 8, forward_threads = 256, forward_blocks = 3 * multiprocessors;

/// A lane's columns of the rows that it makes codes of with others: eight of either half of a tile, in bfloat16.
struct LaneRows {
  uint4 eights[forward_rows][2];
};

/// The greater of two absolute values, with some sign: of each half. NaN if either is.
__device__ inline uint32_t greater_size(uint32_t a, uint32_t b) {
  uint32_t most;
  asm("max.NaN.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(most) : "r"(a), "r"(b));
  return most;
}
__device__ inline uint32_t greatest_size(const uint4& v) {
  return greater_size(greater_size(v.x, v.y), greater_size(v.z, v.w));
}
/// The greatest absolute values of a lane's rows: two in a word.
__device__ inline uint32_t find_sizes(const LaneRows& rows) {
  uint32_t two[forward_rows];
#pragma unroll
  for (int i = 0; i < forward_rows; ++i) {
    two[i] = greater_size(greatest_size(rows.eights[i][0]), greatest_size(rows.eights[i][1]));
  }
  return greater_size(__byte_perm(two[0], two[1], 0x5410), __byte_perm(two[0], two[1], 0x7632));
}
/// Of all lanes.
__device__ inline uint32_t find_most(uint32_t sizes) {
#pragma unroll
  for (int step = 1; step < forward_lanes; step *= 2) {
    sizes = greater_size(sizes, __shfl_xor_sync(~0u, sizes, step));
  }
  return sizes;
}

/// Codes of a lane's columns of the rows whose scales lanes from `first` on have. kGreat: some are above what
/// `divided` takes. `rows`: how many are there; `stride`: bytes between their codes.
template <bool kGreat>
__device__ inline void write_rows(const LaneRows& v, const Scale& scales, const Inverse& inverses, int first, int rows,
                                  uint8_t* codes, int64_t stride) {
#pragma unroll
  for (int i = 0; i < forward_rows; ++i) {
    Scale scale{};
    if constexpr (kGreat) {
      scale = {__shfl_sync(~0u, scales.scale, first + i, forward_lanes),
               __shfl_sync(~0u, scales.inverse, first + i, forward_lanes)};
    }
    const Inverse inverse{__shfl_sync(~0u, inverses.most, first + i, forward_lanes),
                          __shfl_sync(~0u, inverses.rest, first + i, forward_lanes)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float x[8];
      unpack(v.eights[i][half], x);
#pragma unroll
      for (float& one : x) one = kGreat ? quotient<Quotient::refined>(one, scale) : divided(one, inverse);
      if (i >= rows) continue;
      *reinterpret_cast<uint2*>(codes + i * stride + 64 * half) =
          make_uint2(codes_of(x[0], x[1], x[2], x[3]), codes_of(x[4], x[5], x[6], x[7]));
    }
  }
}

/// Rows and a tile of columns, by turns of all eights of lanes of the grid.
struct ForwardPart {
  int row, tile;

  __device__ ForwardPart(const SwigluForward& args, int index)
      : row(index / args.tiles * forward_rows), tile(index - row / forward_rows * args.tiles) {}
  __device__ int rows(const SwigluForward& args) const { return min(args.R - row, forward_rows); }
  __device__ int64_t first(const SwigluForward& args) const { return int64_t{row} * 2 * args.F + 128 * tile; }
};

/// A lane's numbers of gate and up on their way: [rows, gate and up, halves], those of neighbouring lanes beside each
/// other.
struct ForwardPlace {
  uint32_t address;

  __device__ static uint32_t at(int i, int matrix, int half) {
    return static_cast<uint32_t>(16 * forward_threads * ((2 * i + matrix) * 2 + half));
  }
  __device__ void bring(const SwigluForward& args, const ForwardPart& part, int lane) const {
    const uint16_t* from = args.both + part.first(args) + 8 * lane;
#pragma unroll
    for (int i = 0; i < forward_rows; ++i) {
#pragma unroll
      for (int matrix = 0; matrix < 2; ++matrix) {
        const uint16_t* const its = from + matrix * args.F;
        copy_sixteen(address + at(i, matrix, 0), its);
        copy_sixteen(address + at(i, matrix, 1), its + 64);
      }
      if (part.row + 1 < args.R) from += 2 * int64_t{args.F};  // else the row again, of which nothing is written
    }
    commit_sixteens();
  }
  __device__ void take(LaneRows& gate, LaneRows& up) const {
    wait_sixteens();
#pragma unroll
    for (int i = 0; i < forward_rows; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        gate.eights[i][half] = load_shared_words(address + at(i, 0, half));
        up.eights[i][half] = load_shared_words(address + at(i, 1, half));
      }
    }
  }
};

__device__ inline void make_forward_codes(const SwigluForward& args, const ForwardPart& part, int lane,
                                          const LaneRows& gate, const LaneRows& up) {
  LaneRows activated;
  const uint32_t gate_sizes = find_sizes(gate);
#pragma unroll
  for (int i = 0; i < forward_rows; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      activated.eights[i][half] =
          activated_eight(gate.eights[i][half], up.eights[i][half], gate_sizes >> (16 * i) & 0x7fff);
    }
  }
  const uint32_t most_gate = find_most(gate_sizes), most_up = find_most(find_sizes(up)),
                 most_activated = find_most(find_sizes(activated));
  // Lanes 0 and 1 have the scales of gate's rows, 2 and 3 those of up's, 4 and 5 those of activated's.
  const int i = lane % 2, rows = part.rows(args);
  const uint32_t most = lane < 2 ? most_gate : lane < 4 ? most_up : most_activated;
  const Scale scale = scale_of<Quotient::refined>(most >> (16 * i) & 0x7fff, false, args.least_amax);
  if (i < rows && lane < 6) {
    float* const at = lane < 2   ? args.kept.scales + part.tile * args.kept.scales_stride
                      : lane < 4 ? args.kept.scales + (args.tiles + part.tile) * args.kept.scales_stride
                                 : args.activated.scales + part.tile * args.activated.scales_stride;
    at[part.row + i] = scale.scale;
  }
  const Inverse inverse = inverse_of(scale.scale);
  const auto write = [&](auto great) {
    constexpr bool kGreat = decltype(great)::value;
    const int64_t F = args.F;
    uint8_t* const kept = args.kept.codes + part.first(args) + 8 * lane;
    write_rows<kGreat>(gate, scale, inverse, 0, rows, kept, 2 * F);
    write_rows<kGreat>(up, scale, inverse, 2, rows, kept + F, 2 * F);
    write_rows<kGreat>(activated, scale, inverse, 4, rows,
                       args.activated.codes + part.row * F + 128 * part.tile + 8 * lane, F);
  };
  __any_sync(~0u, scale.scale > greatest_divisor) ? write(std::true_type()) : write(std::false_type());
}

}  // namespace troupe::kernels::cuda
