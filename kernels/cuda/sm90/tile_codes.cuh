// Tiles of 128 x 128 numbers in bfloat16, which a block of threads holds in registers, to E4M3 codes
// and their scales: for kernels that quantize what they read (quantize_sm90.cu) or what they compute
// (swiglu_codes_sm90.cu).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/device/bf16_pair.cuh"

namespace troupe::kernels::cuda {

constexpr int tile_threads = 256;

/// What of a tile of 128 x 128 shares a scale: a row, a column, each for its own codes, or all of it.
enum class ScaleOf { line, block };
/// What is made of it: codes as it lies, turned, or both.
enum class Made { straight, turned, both };

struct Scale {
  float scale;
  float inverse;  ///< nearest to 1 / scale
};

/// How x / scale is computed, rounded to nearest.
enum class Quotient {
  power,    ///< the scale is a power of two: the product with its inverse is exact
  refined,  ///< with the nearest reciprocal, one step of refinement is exact
  lifted,   ///< the same of numbers that may be small: no remainder may be a subnormal number
};

/// What numbers of a tile with this scale are multiplied by first, exactly, and so is the scale.
__device__ inline float lift_of(float scale) { return scale < 0x1p-60f ? 0x1p64f : 1.0f; }

/// `bits`: the greatest absolute value of the tile, a bfloat16.
template <Quotient kQuotient>
__device__ inline Scale scale_of(uint32_t bits, bool power_of_two, float least_amax) {
  const float amax = fmaxf(__uint_as_float(bits << 16), least_amax);
  float scale = __fdiv_rn(amax, 448.0f);
  if (power_of_two) scale = __uint_as_float((__float_as_uint(scale) + 0x7fffff) & 0x7f800000);
  if (bits >= 0x7f80) scale = __uint_as_float(0x7fc00000);
  if constexpr (kQuotient == Quotient::lifted) {
    return {scale, __frcp_rn(scale * lift_of(scale))};
  }
  return {scale, __frcp_rn(scale)};
}

/// Source of `refined`: Markstein, "Computation of elementary functions on the IBM RISC System/6000
/// processor", IBM Journal of Research and Development 34 (1990). Keeps the sign of zeros.
template <Quotient kQuotient>
__device__ inline float quotient(float x, const Scale& s) {
  if constexpr (kQuotient == Quotient::lifted) {
    const float lift = lift_of(s.scale), divisor = s.scale * lift;
    x *= lift;
    const float near = x * s.inverse;
    return __fmaf_rn(-__fmaf_rn(near, divisor, -x), s.inverse, near);
  }
  const float near = x * s.inverse;
  if constexpr (kQuotient == Quotient::power) return near;
  const float excess = __fmaf_rn(near, s.scale, -x);
  return __fmaf_rn(-excess, s.inverse, near);
}

/// Codes of four numbers, the first in the lowest byte.
__device__ inline uint32_t codes_of(float a, float b, float c, float d) {
  uint32_t codes;
  asm("{\n"
      ".reg .b16 low, high;\n"
      "cvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\n"
      "cvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\n"
      "mov.b32 %0, {low, high};\n"
      "}"
      : "=r"(codes)
      : "f"(a), "f"(b), "f"(c), "f"(d));
  return codes;
}

template <bool kNeeded>
__device__ inline Scale column_scale_of(const Scale* scales, int column) {
  if constexpr (kNeeded) return scales[column];
  return {};
}

/// Where codes of a tile and their scales go.
struct TileOut {
  int cols;  ///< of x; what is behind is not there
  bool power_of_two;
  float least_amax;
  uint8_t* codes;
  int64_t codes_stride;
  float* scales;
  int64_t scales_stride;
  uint8_t* transposed;
  int64_t transposed_stride;
  float* transposed_scales;
  int64_t transposed_scales_stride;
};

/// How numbers divide by scales that follow from this.
inline Quotient quotient_for(bool power_of_two, float least_amax) {
  if (power_of_two) return Quotient::power;
  return least_amax >= 0x1p-60f ? Quotient::refined : Quotient::lifted;
}

/// Rows whose tiles begin anew with each group; without offsets one group has all.
struct TileGroups {
  int rows;
  int groups;
  const int32_t* row_offsets;
  const int32_t* block_offsets;
};

/// A block's tile, and this thread's part of it: thread t has rows 8 (t / 16) + i, columns
/// 8 (t % 16) + j, for i, j < 8.
struct CodesTile {
  int tile;      ///< among the rows of tiles
  int col_tile;
  int first, end;  ///< rows: of the tile, and where its group's end
  int matrix = 0, tile_of_matrix;  ///< of several matrices, one behind the other

  /// False where there is no such tile.
  __device__ bool find(const TileGroups& groups, int row_tile, int column_tile) {
    tile = tile_of_matrix = row_tile;
    col_tile = column_tile;
    first = 128 * tile;
    end = groups.rows;
    if (groups.block_offsets == nullptr) return true;
    if (tile >= __ldg(groups.block_offsets + groups.groups)) return false;
    int low = 0, high = groups.groups;  // the last group that begins at or before the tile
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (__ldg(groups.block_offsets + middle) <= tile ? low : high) = middle;
    }
    first = __ldg(groups.row_offsets + low) + 128 * (tile - __ldg(groups.block_offsets + low));
    end = __ldg(groups.row_offsets + low + 1);
    return true;
  }
  __device__ int octet() const { return static_cast<int>(threadIdx.x) % 16; }
  __device__ int row() const { return first + static_cast<int>(threadIdx.x) / 16 * 8; }
  __device__ int col() const { return col_tile * 128 + octet() * 8; }
  __device__ bool is_whole(int cols) const {
    return first + 128 <= end && col_tile * 128 + 128 <= cols;
  }
  /// How many of the thread's eight rows are there.
  __device__ int rows(int cols) const { return col() < cols ? min(max(end - row(), 0), 8) : 0; }
};

/// What a block shares while it makes codes of a tile.
struct TileShared {
  uint4 column_most[8][16];  // of a warp's 16 rows, two columns a word
  uint32_t row_most[64];     // two rows a word
  Scale row_scales[128], column_scales[128];
  uint2 turned[128 * 16];  // [column][8 rows], places exchanged as below
};

/// Scales of a tile's lines, in `shared` and in memory. Whether any of them needs numbers to be lifted,
/// which is told to all threads: none may be ahead of the others.
template <ScaleOf kScaleOf, Made kMade, Quotient kQuotient>
__device__ inline bool find_scales(TileShared& shared, const TileOut& args, const CodesTile& at_tile,
                                   const uint4 (&v)[8]) {
  constexpr bool kTurned = kMade != Made::straight;
  constexpr bool kOfRows = kMade != Made::turned || kScaleOf == ScaleOf::block;  // their greatest values are needed
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, octet = thread % 16;
  const int tile = at_tile.tile;
  bool is_lifted = false;
  uint4 down = make_uint4(0, 0, 0, 0);
  uint32_t across[4];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint4 m = make_uint4(v[i].x & 0x7fff7fff, v[i].y & 0x7fff7fff, v[i].z & 0x7fff7fff,
                               v[i].w & 0x7fff7fff);
    if constexpr (kOfRows) {
      const uint32_t most = __vmaxu2(__vmaxu2(m.x, m.y), __vmaxu2(m.z, m.w));
      const uint32_t one = max(most & 0xffff, most >> 16);
      across[i / 2] = i % 2 == 0 ? one : across[i / 2] | one << 16;
    }
    down = make_uint4(__vmaxu2(down.x, m.x), __vmaxu2(down.y, m.y), __vmaxu2(down.z, m.z),
                      __vmaxu2(down.w, m.w));
  }
  if constexpr (kOfRows) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int step = 1; step < 16; step *= 2) {
        across[i] = __vmaxu2(across[i], __shfl_xor_sync(~0u, across[i], step));
      }
      if (octet == i) shared.row_most[thread / 16 * 4 + i] = across[i];
    }
  }
  if constexpr (kScaleOf == ScaleOf::line && kTurned) {
    down = make_uint4(__vmaxu2(down.x, __shfl_xor_sync(~0u, down.x, 16)),
                      __vmaxu2(down.y, __shfl_xor_sync(~0u, down.y, 16)),
                      __vmaxu2(down.z, __shfl_xor_sync(~0u, down.z, 16)),
                      __vmaxu2(down.w, __shfl_xor_sync(~0u, down.w, 16)));
    if (lane < 16) shared.column_most[warp][octet] = down;
  }
  __syncthreads();

  if (kOfRows && thread < 128) {
    const int at = at_tile.first + thread;
    uint32_t bits = shared.row_most[thread / 2] >> (thread % 2 * 16) & 0xffff;
    if constexpr (kScaleOf == ScaleOf::block) {
      bits = 0;
#pragma unroll
      for (int i = 0; i < 64; ++i) bits = __vmaxu2(bits, shared.row_most[i]);
      bits = max(bits & 0xffff, bits >> 16);
    }
    const Scale scale = scale_of<kQuotient>(bits, args.power_of_two, args.least_amax);
    shared.row_scales[thread] = scale;
    is_lifted = lift_of(scale.scale) != 1.0f;
    if constexpr (kScaleOf == ScaleOf::block) {
      shared.column_scales[thread] = scale;
      if (thread == 0) {
        if (args.scales != nullptr) {
          args.scales[tile * args.scales_stride + at_tile.col_tile] = scale.scale;
        }
        if (args.transposed_scales != nullptr) {
          const int64_t its = int64_t{at_tile.matrix} * ((args.cols + 127) / 128) + at_tile.col_tile;
          args.transposed_scales[its * args.transposed_scales_stride + at_tile.tile_of_matrix] =
              scale.scale;
        }
      }
    } else if (at < at_tile.end) {
      args.scales[at_tile.col_tile * args.scales_stride + at] = scale.scale;
    }
  } else if (kScaleOf == ScaleOf::line && kTurned && thread >= 128) {
    const int c = thread - 128, at = at_tile.col_tile * 128 + c;
    const auto* most = reinterpret_cast<const uint16_t*>(shared.column_most);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) bits = max(bits, uint32_t{most[i * 128 + c]});
    const Scale scale = scale_of<kQuotient>(bits, args.power_of_two, args.least_amax);
    shared.column_scales[c] = scale;
    is_lifted = lift_of(scale.scale) != 1.0f;
    if (at < args.cols) {
      args.transposed_scales[tile * args.transposed_scales_stride + at] = scale.scale;
    }
  }
  if constexpr (kQuotient == Quotient::lifted) return __syncthreads_or(is_lifted);
  __syncthreads();
  return false;
}

/// Codes of a tile whose scales are in `shared`.
template <Made kMade, Quotient kQuotient>
__device__ inline void write_codes(TileShared& shared, const TileOut& args, const CodesTile& at_tile,
                                   const uint4 (&v)[8]) {
  constexpr bool kStraight = kMade != Made::turned, kTurned = kMade != Made::straight;
  const int thread = threadIdx.x, octet = thread % 16;
  const int row = at_tile.row(), col = at_tile.col();
  const bool whole = at_tile.is_whole(args.cols);
  const int rows = at_tile.rows(args.cols);
  Scale row_scale[8];
  uint2 out[8];
  // A word of two columns after the other, two rows at a time: each number is unpacked once.
  // Pieces of 8 rows of the transpose stand so that neither writing nor reading meets a bank twice:
  // 16-byte units of a column are exchanged by its octet, and their halves from column 64 on.
  const int piece = thread / 16, unit = piece / 2 ^ octet % 8, half = piece % 2 ^ octet / 8;
  uint2* turned_at = shared.turned + octet * 8 * 16 + unit * 2 + half;
  if constexpr (kStraight) {
#pragma unroll
    for (int i = 0; i < 8; ++i) row_scale[i] = shared.row_scales[thread / 16 * 8 + i];
  }
#pragma unroll
  for (int word = 0; word < 4; word += 2) {
    float row_part[8][4];  // four columns of each row
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Scale left = column_scale_of<kTurned>(shared.column_scales, octet * 8 + 2 * (word + j));
      const Scale right = column_scale_of<kTurned>(shared.column_scales, octet * 8 + 2 * (word + j) + 1);
      float left_part[8], right_part[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float a = lower_bf16(word_of(v[i], word + j));
        const float b = upper_bf16(word_of(v[i], word + j));
        if constexpr (kStraight) {
          row_part[i][2 * j] = quotient<kQuotient>(a, row_scale[i]);
          row_part[i][2 * j + 1] = quotient<kQuotient>(b, row_scale[i]);
        }
        if constexpr (kTurned) {
          left_part[i] = quotient<kQuotient>(a, left);
          right_part[i] = quotient<kQuotient>(b, right);
        }
      }
      if constexpr (kTurned) {
        turned_at[16 * (2 * (word + j))] =
            make_uint2(codes_of(left_part[0], left_part[1], left_part[2], left_part[3]),
                       codes_of(left_part[4], left_part[5], left_part[6], left_part[7]));
        turned_at[16 * (2 * (word + j) + 1)] =
            make_uint2(codes_of(right_part[0], right_part[1], right_part[2], right_part[3]),
                       codes_of(right_part[4], right_part[5], right_part[6], right_part[7]));
      }
    }
    if constexpr (kStraight) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const uint32_t codes =
            codes_of(row_part[i][0], row_part[i][1], row_part[i][2], row_part[i][3]);
        (word == 0 ? out[i].x : out[i].y) = codes;
      }
    }
  }
  if constexpr (kStraight) {
    uint8_t* const to = args.codes + int64_t{row} * args.codes_stride + col;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (whole || i < rows) *reinterpret_cast<uint2*>(to + int64_t{i} * args.codes_stride) = out[i];
    }
  }
  if constexpr (!kTurned) return;
  __syncthreads();
#pragma unroll
  for (int i = thread; i < 1024; i += 256) {
    const int c = i / 8, unit = i % 8, at = at_tile.col_tile * 128 + c;
    if (at >= args.cols) continue;
    uint4 piece = *reinterpret_cast<const uint4*>(shared.turned + c * 16 + (unit ^ c / 8 % 8) * 2);
    if (c >= 64) piece = make_uint4(piece.z, piece.w, piece.x, piece.y);
    const int64_t column = int64_t{at_tile.matrix} * args.cols + at;
    const int place = 128 * at_tile.tile_of_matrix + 16 * unit;
    if (place < args.transposed_stride) {
      *reinterpret_cast<uint4*>(args.transposed + column * args.transposed_stride + place) = piece;
    }
  }
}

/// v: eight columns of each of this thread's rows, 0 where there are none. Called again, it needs a
/// barrier before.
template <ScaleOf kScaleOf, Made kMade, Quotient kQuotient>
__device__ inline void make_codes(TileShared& shared, const TileOut& args, const CodesTile& at_tile,
                                  const uint4 (&v)[8]) {
  const bool are_lifted = find_scales<kScaleOf, kMade, kQuotient>(shared, args, at_tile, v);
  if constexpr (kQuotient == Quotient::lifted) {
    // A step with less for each number, wherever it is the same.
    if (!are_lifted) return write_codes<kMade, Quotient::refined>(shared, args, at_tile, v);
  }
  write_codes<kMade, kQuotient>(shared, args, at_tile, v);
}

}  // namespace troupe::kernels::cuda
