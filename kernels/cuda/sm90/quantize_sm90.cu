#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/quantize_sm90.h"

namespace troupe::kernels::cuda {

namespace {

/// What of a tile of 128 x 128 shares a scale: a row, a column, each for its own codes, or all of it.
enum class Scales { lines, block };
/// What is made of it: codes as it lies, turned, or both.
enum class Made { straight, turned, both };

struct TileArgs {
  const uint16_t* x;
  int64_t x_stride;
  int rows;
  int cols;
  bool power_of_two;
  float least_amax;
  uint8_t* codes;
  float* scales;
  int64_t scales_stride;
  uint8_t* transposed;
  int64_t transposed_stride;
  float* transposed_scales;
  int64_t transposed_scales_stride;
  int groups;
  const int32_t* row_offsets;
  const int32_t* block_offsets;
  int matrix_tiles;  ///< rows of tiles of a matrix, of which several lie one behind the other
};

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

__device__ inline float lower_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float upper_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000); }
__device__ inline uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

template <bool kNeeded>
__device__ inline Scale column_scale_of(const Scale* scales, int column) {
  if constexpr (kNeeded) return scales[column];
  return {};
}

/// First row of a tile, and the end of its group's.
__device__ inline int2 rows_of_tile(const TileArgs& args, int tile) {
  if (args.row_offsets == nullptr) return make_int2(128 * tile, args.rows);
  int low = 0, high = args.groups;  // the last group that begins at or before the tile
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (__ldg(args.block_offsets + middle) <= tile ? low : high) = middle;
  }
  const int row = __ldg(args.row_offsets + low) + 128 * (tile - __ldg(args.block_offsets + low));
  return make_int2(row, __ldg(args.row_offsets + low + 1));
}

__device__ inline const uint4* in_row(const uint16_t* first, int i, int64_t stride) {
  return reinterpret_cast<const uint4*>(first + i * stride);
}

/// A tile of 128 x 128: thread t has rows 8 (t / 16) + i, columns 8 (t % 16) + j, for i, j < 8.
template <Scales kScales, Made kMade, Quotient kQuotient>
__global__ void __launch_bounds__(256, 3) quantize_tile(const TileArgs args) {
  constexpr bool kStraight = kMade != Made::turned, kTurned = kMade != Made::straight;
  constexpr bool kOfRows = kStraight || kScales == Scales::block;  // their greatest values are needed
  __shared__ uint4 column_most[8][16];  // of a warp's 16 rows, two columns a word
  __shared__ uint32_t row_most[64];     // two rows a word
  __shared__ Scale row_scales[128], column_scales[128];
  __shared__ uint2 turned[128 * 16];  // [column][8 rows], places exchanged as below
  const int tile = blockIdx.y;
  if (args.block_offsets != nullptr && tile >= __ldg(args.block_offsets + args.groups)) return;
  const int2 range = rows_of_tile(args, tile);
  const int matrix = kScales == Scales::block ? tile / args.matrix_tiles : 0;
  const int tile_of_matrix = tile - matrix * args.matrix_tiles;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, octet = thread % 16;
  const int row = range.x + thread / 16 * 8, col = blockIdx.x * 128 + octet * 8;
  // How many of the thread's eight rows are there. Whole tiles take a way without questions.
  const bool whole = range.x + 128 <= range.y && blockIdx.x * 128 + 128 <= args.cols;
  const int rows = col < args.cols ? min(max(range.y - row, 0), 8) : 0;
  const uint16_t* const first = args.x + row * args.x_stride + col;
  uint4 v[8];
  if (whole) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __ldcs(in_row(first, i, args.x_stride));
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      v[i] = i < rows ? __ldcs(in_row(first, i, args.x_stride)) : make_uint4(0, 0, 0, 0);
    }
  }

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
      if (octet == i) row_most[thread / 16 * 4 + i] = across[i];
    }
  }
  if constexpr (kScales == Scales::lines && kTurned) {
    down = make_uint4(__vmaxu2(down.x, __shfl_xor_sync(~0u, down.x, 16)),
                      __vmaxu2(down.y, __shfl_xor_sync(~0u, down.y, 16)),
                      __vmaxu2(down.z, __shfl_xor_sync(~0u, down.z, 16)),
                      __vmaxu2(down.w, __shfl_xor_sync(~0u, down.w, 16)));
    if (lane < 16) column_most[warp][octet] = down;
  }
  __syncthreads();

  if (kOfRows && thread < 128) {
    const int at = range.x + thread;
    uint32_t bits = row_most[thread / 2] >> (thread % 2 * 16) & 0xffff;
    if constexpr (kScales == Scales::block) {
      bits = 0;
#pragma unroll
      for (int i = 0; i < 64; ++i) bits = __vmaxu2(bits, row_most[i]);
      bits = max(bits & 0xffff, bits >> 16);
    }
    const Scale scale = scale_of<kQuotient>(bits, args.power_of_two, args.least_amax);
    row_scales[thread] = scale;
    if constexpr (kScales == Scales::block) {
      column_scales[thread] = scale;
      if (thread == 0) {
        if (args.scales != nullptr) {
          args.scales[tile * args.scales_stride + blockIdx.x] = scale.scale;
        }
        if (args.transposed_scales != nullptr) {
          const int64_t its = int64_t{matrix} * gridDim.x + blockIdx.x;
          args.transposed_scales[its * args.transposed_scales_stride + tile_of_matrix] =
              scale.scale;
        }
      }
    } else if (at < range.y) {
      args.scales[blockIdx.x * args.scales_stride + at] = scale.scale;
    }
  } else if (kScales == Scales::lines && kTurned && thread >= 128) {
    const int c = thread - 128, at = blockIdx.x * 128 + c;
    const auto* most = reinterpret_cast<const uint16_t*>(column_most);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) bits = max(bits, uint32_t{most[i * 128 + c]});
    const Scale scale = scale_of<kQuotient>(bits, args.power_of_two, args.least_amax);
    column_scales[c] = scale;
    if (at < args.cols) {
      args.transposed_scales[tile * args.transposed_scales_stride + at] = scale.scale;
    }
  }
  __syncthreads();

  Scale row_scale[8];
  uint2 out[8];
  // A word of two columns after the other, two rows at a time: each number is unpacked once.
  // Pieces of 8 rows of the transpose stand so that neither writing nor reading meets a bank twice:
  // 16-byte units of a column are exchanged by its octet, and their halves from column 64 on.
  const int piece = thread / 16, unit = piece / 2 ^ octet % 8, half = piece % 2 ^ octet / 8;
  uint2* turned_at = turned + octet * 8 * 16 + unit * 2 + half;
  if constexpr (kStraight) {
#pragma unroll
    for (int i = 0; i < 8; ++i) row_scale[i] = row_scales[thread / 16 * 8 + i];
  }
#pragma unroll
  for (int word = 0; word < 4; word += 2) {
    float row_part[8][4];  // four columns of each row
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Scale left = column_scale_of<kTurned>(column_scales, octet * 8 + 2 * (word + j));
      const Scale right = column_scale_of<kTurned>(column_scales, octet * 8 + 2 * (word + j) + 1);
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
    uint8_t* const to = args.codes + int64_t{row} * args.cols + col;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (whole || i < rows) *reinterpret_cast<uint2*>(to + int64_t{i} * args.cols) = out[i];
    }
  }
  if constexpr (!kTurned) return;
  __syncthreads();
#pragma unroll
  for (int i = thread; i < 1024; i += 256) {
    const int c = i / 8, unit = i % 8, at = blockIdx.x * 128 + c;
    if (at >= args.cols) continue;
    uint4 piece = *reinterpret_cast<const uint4*>(turned + c * 16 + (unit ^ c / 8 % 8) * 2);
    if (c >= 64) piece = make_uint4(piece.z, piece.w, piece.x, piece.y);
    const int64_t column = int64_t{matrix} * args.cols + at;
    const int place = 128 * tile_of_matrix + 16 * unit;
    if (place < args.transposed_stride) {
      *reinterpret_cast<uint4*>(args.transposed + column * args.transposed_stride + place) = piece;
    }
  }
}

template <Scales kScales, Made kMade>
void run(const char* what, const TileArgs& args, int64_t tiles, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((args.cols + 127) / 128), static_cast<unsigned>(tiles));
  const auto kernel = args.power_of_two ? quantize_tile<kScales, kMade, Quotient::power>
                      : args.least_amax >= 0x1p-60f
                          ? quantize_tile<kScales, kMade, Quotient::refined>
                          : quantize_tile<kScales, kMade, Quotient::lifted>;
  launch(what, kernel, grid, 256, 0, 0, stream, args);
}

template <Scales kScales>
void run(const char* what, const TileArgs& args, int64_t tiles, cudaStream_t stream) {
  if (args.transposed == nullptr) return run<kScales, Made::straight>(what, args, tiles, stream);
  if (args.codes == nullptr) return run<kScales, Made::turned>(what, args, tiles, stream);
  run<kScales, Made::both>(what, args, tiles, stream);
}

}  // namespace

void quantize_sm90(const QuantizeSm90Args& args, cudaStream_t stream) {
  if (args.M == 0) return;
  expect_multiple("quantize_sm90 K", args.K, 16);
  expect_multiple("quantize_sm90 x_stride", args.x_stride, 8);
  const bool grouped = args.row_offsets != nullptr;
  const int64_t tiles = grouped ? args.blocks : (args.M + 127) / 128;
  if (tiles == 0) return;
  const TileArgs tile{.x = args.x,
                      .x_stride = args.x_stride,
                      .rows = static_cast<int>(args.M),
                      .cols = static_cast<int>(args.K),
                      .power_of_two = args.power_of_two,
                      .least_amax = args.least_amax,
                      .codes = args.rows,
                      .scales = args.row_scales,
                      .scales_stride = args.row_scales_stride,
                      .transposed = args.columns,
                      .transposed_stride = 128 * tiles,
                      .transposed_scales = args.column_scales,
                      .transposed_scales_stride = args.column_scales_stride,
                      .groups = args.groups,
                      .row_offsets = args.row_offsets,
                      .block_offsets = args.block_offsets,
                      .matrix_tiles = static_cast<int>(tiles)};
  run<Scales::lines>("quantize_sm90", tile, tiles, stream);
}

void quantize_blocks_sm90(const QuantizeBlocksSm90Args& args, cudaStream_t stream) {
  if (args.N == 0 || args.groups == 0) return;
  expect_multiple("quantize_blocks_sm90 K", args.K, 16);
  expect_multiple("quantize_blocks_sm90 w_stride", args.w_stride, 8);
  if (args.groups > 1) expect_multiple("quantize_blocks_sm90 N of groups", args.N, 128);
  const int64_t down = (args.N + 127) / 128;
  const TileArgs tile{.x = args.w,
                      .x_stride = args.w_stride,
                      .rows = static_cast<int>(args.groups * args.N),
                      .cols = static_cast<int>(args.K),
                      .power_of_two = args.power_of_two,
                      .least_amax = args.least_amax,
                      .codes = args.codes,
                      .scales = args.scales,
                      .scales_stride = args.scales_stride,
                      .transposed = args.transposed,
                      .transposed_stride = (args.N + 15) / 16 * 16,
                      .transposed_scales = args.transposed_scales,
                      .transposed_scales_stride = args.transposed_scales_stride,
                      .groups = 1,
                      .row_offsets = nullptr,
                      .block_offsets = nullptr,
                      .matrix_tiles = static_cast<int>(down)};
  run<Scales::block>("quantize_blocks_sm90", tile, args.groups * down, stream);
}

}  // namespace troupe::kernels::cuda
