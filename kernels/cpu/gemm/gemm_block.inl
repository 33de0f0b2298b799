// The blocks of a matrix product, compiled for each instruction set by gemm.cpp and gemm_fp8.cpp.
// The columns are walked in panels of b that stay in the first cache, the rows in tiles that fit
// the registers, the rows of a block stay in the second cache.
// Law 1: an element is one chain of FMAs over k from +0. Between blocks of k it rests in memory as
// f32, which rounds nothing, so neither blocks nor tiles show in the bits.
// `Kind` says what the operands are: Numbers, Rounded or Codes of gemm_pack.inl, or pairs of gemm_pairs.cpp.

#include "kernels/cpu/gemm/gemm_tile.inl"

#include "kernels/cpu/gemm/gemm_pack.inl"

constexpr int64_t most_block_rows = 1024;
constexpr int few_rows_limit = f16_registers == 32 ? 8 : 4;

/// Adds the products of k in [begin, end) to the sums of `rows` rows and n columns from j on,
/// without packing b, which is stored transposed.
template <int rows>
inline void add_few_rows(const GemmBlock& g, int64_t j, int64_t n, Range k_range,
                         F16 (&sum)[rows]) {
  for (int64_t k = k_range.begin; k < k_range.end; k += 16) {
    F16 column[16];
    const int64_t last = std::min<int64_t>(16, k_range.end - k);
    load_transposed_part(g.b + j * g.b_stride + k, g.b_stride, n, last, column);
    const float* a = g.a + k * g.a_k;
    if (last == 16) {
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
          sum[r] = fma(set1(a[r * g.a_row + i * g.a_k]), column[i], sum[r]);
        }
      }
    } else {
      for (int64_t i = 0; i < last; ++i) {
        for (int r = 0; r < rows; ++r) {
          sum[r] = fma(set1(a[r * g.a_row + i * g.a_k]), column[i], sum[r]);
        }
      }
    }
  }
}

/// The scales of n columns from j on, which is a multiple of `width`: so columns that share a scale
/// (128 of them) fill the panel.
template <int width>
inline void find_b_scales(const GemmBlock& g, int64_t j, int64_t n, int64_t block,
                          float (&out)[width]) {
  static_assert(scale_depth % width == 0);
  if (g.scales.b_tile_cols == 1) {
    for (int i = 0; i < width; ++i) out[i] = i < n ? g.scales.b_scale(j + i, block) : 0.0f;
  } else {
    std::fill(out, out + width, g.scales.b_scale(j, block));
  }
}

/// A few rows times a transposed b: 16 columns at a time stand in registers.
template <int rows, bool promotes>
inline void multiply_few_rows(const GemmBlock& g) {
  for (int64_t j = 0; j < g.cols; j += 16) {
    const int64_t n = std::min<int64_t>(16, g.cols - j);
    F16 total[rows];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) total[r] = zero();
    if constexpr (promotes) {
      for (int64_t k0 = 0; k0 < g.depth; k0 += scale_depth) {
        F16 sum[rows];
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) sum[r] = zero();
        add_few_rows<rows>(g, j, n, {k0, std::min(g.depth, k0 + scale_depth)}, sum);
        float b_scales[16];
        find_b_scales(g, j, n, k0 / scale_depth, b_scales);
        for (int r = 0; r < rows; ++r) {
          const F16 scale = set1(g.scales.a_scale(r, k0 / scale_depth)) * load(b_scales);
          total[r] = fma(sum[r], scale, total[r]);
        }
      }
    } else {
      add_few_rows<rows>(g, j, n, {0, g.depth}, total);
    }
    for (int r = 0; r < rows; ++r) {
      float* out = g.c + r * g.c_row + j;
      const int lanes = static_cast<int>(n);
      store_lanes(out, g.add ? load_lanes(out, lanes) + total[r] : total[r], lanes);
    }
  }
}

template <bool promotes, int... row>
inline auto few_rows_function(int64_t rows, std::integer_sequence<int, row...>) {
  static constexpr void (*functions[])(const GemmBlock&) = {
      multiply_few_rows<row + 1, promotes>...};
  return functions[rows - 1];
}

/// Rows [first, first + rows) of the block.
template <class Kind>
inline void multiply_row_block(const GemmBlock& g, int64_t first, int64_t rows, bool pack_a,
                               float* a_scratch, float* sum_scratch) {
  constexpr bool promotes = Kind::promotes;
  constexpr int64_t most_depth = Kind::block_depth;
  alignas(64) float panel[Kind::steps_of(most_depth) * panel_cols];
  typename Kind::Extent a_extent, b_extent;
  float a_scales[most_block_rows], b_scales[panel_cols];  // where it promotes
  const int64_t tiles = (rows + tile_rows - 1) / tile_rows;
  for (int64_t k0 = 0; k0 < g.depth; k0 += most_depth) {
    const int64_t depth = std::min(most_depth, g.depth - k0);
    const int64_t steps = Kind::steps_of(depth);
    const bool last = k0 + depth == g.depth;
    for (int64_t i = 0; pack_a && i < tiles; ++i) {
      const int64_t r0 = rows * i / tiles, r1 = rows * (i + 1) / tiles;
      pack_rows<Kind>(g, k0, depth, first + r0, r1 - r0, a_scratch + r0 * steps, a_extent);
    }
    for (int64_t r = 0; promotes && r < rows; ++r) {
      a_scales[r] = g.scales.a_scale(first + r, k0 / most_depth);
    }
    for (int64_t j = 0; j < g.cols; j += panel_cols) {
      const int cols = static_cast<int>(std::min<int64_t>(panel_cols, g.cols - j));
      // A single tile reads each element of b once: copying them would cost more.
      const bool pack_b = Kind::always_packs || g.b_transposed || tiles > 1 || cols % 16 != 0;
      if (pack_b) pack_panel<Kind>(g, k0, depth, j, cols, panel, b_extent);
      const bool in_turn = Kind::in_turn(a_extent, b_extent);
      if constexpr (promotes) find_b_scales(g, j, cols, k0 / most_depth, b_scales);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t r0 = rows * i / tiles, r1 = rows * (i + 1) / tiles;
        float* c = g.c + (first + r0) * g.c_row + j;
        // Sums that are added to c at the end must wait elsewhere until then.
        float* sums = sum_scratch != nullptr ? sum_scratch + r0 * g.cols + j : c;
        const int64_t sums_row = sum_scratch != nullptr ? g.cols : g.c_row;
        const Tile tile{
            .a = pack_a ? a_scratch + r0 * steps : g.a + (first + r0) * g.a_row + k0 * g.a_k,
            .a_row = pack_a ? 1 : g.a_row,
            .a_k = pack_a ? r1 - r0 : g.a_k,
            .b = pack_b ? panel : g.b + k0 * g.b_stride + j,
            .b_k = !pack_b      ? g.b_stride
                   : cols <= 16 ? 16
                                : panel_cols,
            .steps = steps,
            .in_turn = in_turn,
            .start = k0 == 0 ? nullptr : sums,
            .start_row = sums_row,
            .out = last ? c : sums,
            .out_row = last ? g.c_row : sums_row,
            .add = last && g.add,
            .cols = cols,
            .a_scales = a_scales + r0,
            .b_scales = b_scales};
        multiply_tile<Kind>(tile, static_cast<int>(r1 - r0), pack_a || g.a_k != 1);
      }
    }
  }
}

/// Empty chains: +0.
inline void multiply_nothing(const GemmBlock& g) {
  for (int64_t r = 0; r < g.rows; ++r) {
    for_lanes(g.cols, [&](int64_t j, int n) {
      float* c = g.c + r * g.c_row + j;
      store_lanes(c, g.add ? load_lanes(c, n) + zero() : zero(), n);
    });
  }
}

/// Whether copies of a's rows pay. Every panel of b reads the rows again, from the second cache; sooner where they
/// are so far apart that they share sets of the first one, or where each step finds its column in another page.
inline bool packs_rows(const GemmBlock& g) {
  constexpr int64_t far = 512;  // floats
  const int64_t most_cols = g.a_k != 1 ? 64 : g.a_row >= far ? 128 : 256;
  return g.cols > most_cols;
}

template <class Kind>
inline void multiply_block(const GemmBlock& g) {
  if (g.rows <= 0 || g.cols <= 0) return;
  if (g.depth == 0) return multiply_nothing(g);
  if constexpr (Kind::has_few_rows) {
    constexpr auto all = std::make_integer_sequence<int, few_rows_limit>();
    if (g.b_transposed && g.rows <= few_rows_limit) return few_rows_function<Kind::promotes>(g.rows, all)(g);
  }
  const bool pack_a = Kind::always_packs || packs_rows(g);
  const int64_t steps = Kind::steps_of(std::min(Kind::block_depth, g.depth));
  // Each block of rows packs b again, so they are few, and of one size.
  const int64_t fitting_rows =
      std::clamp<int64_t>(block_elements() / steps, tile_rows, most_block_rows);
  const int64_t blocks = (g.rows + fitting_rows - 1) / fitting_rows;
  const int64_t most_rows = (g.rows + blocks - 1) / blocks;
  Buffer a_scratch, sum_scratch;
  if (pack_a) a_scratch = allocate_f32({most_rows * steps + 16});
  if (g.add && g.depth > Kind::block_depth) sum_scratch = allocate_f32({most_rows * g.cols});
  for (int64_t block = 0; block < blocks; ++block) {
    const Range rows = part_range(g.rows, blocks, block);
    multiply_row_block<Kind>(g, rows.begin, rows.end - rows.begin, pack_a,
                                 pack_a ? values<float>(a_scratch.view) : nullptr,
                                 sum_scratch ? values<float>(sum_scratch.view) : nullptr);
  }
}
