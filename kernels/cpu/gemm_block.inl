// The blocks of a matrix product, compiled for each instruction set by gemm.cpp and gemm_fp8.cpp.
// The columns are walked in panels of b that stay in the first cache, the rows in tiles that fit
// the registers, the rows of a block stay in the second cache.
// Law 1: an element is one chain of FMAs over k from +0. Between blocks of k it rests in memory as
// f32, which rounds nothing, so neither blocks nor tiles show in the bits.
// `promotes`: a product of codes. Each block of k is a chain of its own, from +0, which is scaled
// and added to the total.

constexpr int tile_rows = f16_registers == 32 ? 12 : f16_registers == 8 ? 6 : 4;
constexpr int tile_vectors = f16_registers == 32 ? 2 : 1;
constexpr int panel_cols = 16 * tile_vectors;
template <bool promotes>
constexpr int64_t block_depth = promotes ? scale_depth : 384;
constexpr int64_t most_block_rows = 1024;
constexpr int few_rows_limit = f16_registers == 32 ? 8 : 4;

/// A tile of c, at most tile_rows by panel_cols.
struct Tile {
  const float* a;
  int64_t a_row, a_k;
  const float* b;
  int64_t b_k;
  int64_t depth;
  const float* start;  ///< sums of the k before; null: +0
  int64_t start_row;
  float* out;
  int64_t out_row;
  bool add;  ///< out + sums
  int cols;
  const float*
      a_scales;  ///< of the tile's rows, and of a whole panel of columns: where it promotes
  const float* b_scales;
};

template <int vectors>
inline int lanes_of(int cols, int v) {
  return v + 1 < vectors ? 16 : cols - 16 * (vectors - 1);
}

template <int rows, int vectors>
inline void load_sums(const Tile& t, F16 (&sum)[rows][vectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      sum[i][v] = load_lanes(t.start + i * t.start_row + 16 * v, lanes_of<vectors>(t.cols, v));
    }
  }
}

/// The tile's place in c comes while the sums are made, so that storing them need not wait.
template <int rows, int vectors>
inline void prefetch_out(const Tile& t) {
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) __builtin_prefetch(t.out + i * t.out_row + 16 * v, 1);
  }
}

template <int rows, int vectors>
inline void store_sums(const Tile& t, const F16 (&sum)[rows][vectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      float* out = t.out + i * t.out_row + 16 * v;
      const int n = lanes_of<vectors>(t.cols, v);
      store_lanes(out, t.add ? load_lanes(out, n) + sum[i][v] : sum[i][v], n);
    }
  }
}

/// out = start + sums times both scales, in one rounding.
template <int rows, int vectors>
inline void promote_sums(const Tile& t, const F16 (&sum)[rows][vectors]) {
  F16 b_scale[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) b_scale[v] = load(t.b_scales + 16 * v);
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    const F16 a_scale = set1(t.a_scales[i]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const int n = lanes_of<vectors>(t.cols, v);
      const F16 total =
          t.start == nullptr ? zero() : load_lanes(t.start + i * t.start_row + 16 * v, n);
      store_lanes(t.out + i * t.out_row + 16 * v, fma(sum[i][v], a_scale * b_scale[v], total), n);
    }
  }
}

/// `a_packed`: the rows of a column of a are neighbours (a_row is 1), else its columns (a_k is 1).
template <int rows, int vectors, bool a_packed, bool promotes>
inline void multiply_tile(const Tile& t) {
  F16 sum[rows][vectors];
  if (!promotes && t.start != nullptr) {
    load_sums<rows, vectors>(t, sum);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = zero();
    }
  }
  if (t.start == nullptr) prefetch_out<rows, vectors>(t);
  const float* a = t.a;
  const float* b = t.b;
  const int64_t a_row = a_packed ? 1 : t.a_row, a_k = a_packed ? t.a_k : 1;
  for (int64_t k = 0; k < t.depth; ++k) {
    F16 row[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) row[v] = load(b + 16 * v);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const F16 factor = set1(a[i * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = fma(factor, row[v], sum[i][v]);
    }
    a += a_k;
    b += t.b_k;
  }
  if constexpr (promotes) {
    promote_sums<rows, vectors>(t, sum);
  } else if (!t.add && t.cols == 16 * vectors) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) store(t.out + i * t.out_row + 16 * v, sum[i][v]);
    }
  } else {
    store_sums<rows, vectors>(t, sum);
  }
}

using TileFunction = void (*)(const Tile&);

template <int vectors, bool a_packed, bool promotes, int... row>
inline TileFunction tile_function(int rows, std::integer_sequence<int, row...>) {
  static constexpr TileFunction functions[] = {
      multiply_tile<row + 1, vectors, a_packed, promotes>...};
  return functions[rows - 1];
}

template <int vectors, bool promotes>
inline TileFunction tile_function(int rows, bool a_packed) {
  constexpr auto all = std::make_integer_sequence<int, tile_rows>();
  return a_packed ? tile_function<vectors, true, promotes>(rows, all)
                  : tile_function<vectors, false, promotes>(rows, all);
}

template <bool promotes>
inline void multiply_tile(const Tile& t, int rows, bool a_packed) {
  if (tile_vectors == 1 || t.cols <= 16) return tile_function<1, promotes>(rows, a_packed)(t);
  return tile_function<tile_vectors, promotes>(rows, a_packed)(t);
}

/// load_transposed of a block of which `rows` rows and `cols` columns are there; zeros behind.
inline void load_transposed_part(const float* p, int64_t stride, int64_t rows, int64_t cols,
                                 F16 (&out)[16]) {
  if (rows >= 16 && cols >= 16) return load_transposed(p, stride, out);
  alignas(64) float part[16 * 16];
  for (int i = 0; i < 16; ++i) {
    store(part + 16 * i,
          i < rows ? load_lanes(p + i * stride, static_cast<int>(std::min<int64_t>(cols, 16)))
                   : zero());
  }
  load_transposed(part, 16, out);
}

/// Panel of b: [depth, 16 or 32] with zeros behind the `cols` columns.
inline void pack_panel(const GemmBlock& g, int64_t first_k, int64_t depth, int64_t first_col,
                       int cols, float* panel) {
  const int width = cols <= 16 ? 16 : panel_cols;
  for (int v = 0; v < width; v += 16) {
    const int n = std::min(16, cols - v);
    if (g.b_transposed) {
      const float* b = g.b + (first_col + v) * g.b_stride + first_k;
      for (int64_t k = 0; k < depth; k += 16) {
        F16 rows[16];
        load_transposed_part(b + k, g.b_stride, n, depth - k, rows);
        const int64_t last = std::min<int64_t>(16, depth - k);
        for (int64_t i = 0; i < last; ++i) store(panel + (k + i) * width + v, rows[i]);
      }
    } else {
      const float* b = g.b + first_k * g.b_stride + first_col + v;
      for (int64_t k = 0; k < depth; ++k) {
        store(panel + k * width + v, load_lanes(b + k * g.b_stride, n));
      }
    }
  }
}

/// Rows [first, first + rows) of a: [depth, rows]. Writes up to 15 floats behind.
inline void pack_rows(const GemmBlock& g, int64_t first_k, int64_t depth, int64_t first,
                      int64_t rows, float* out) {
  const float* a = g.a + first * g.a_row + first_k * g.a_k;
  if (g.a_row == 1 && g.a_k != 1) {
    const int n = static_cast<int>(rows);
    for (int64_t k = 0; k < depth; ++k) store(out + k * rows, load_lanes(a + k * g.a_k, n));
    return;
  }
  for (int64_t k = 0; k < depth; k += 16) {
    F16 columns[16];
    load_transposed_part(a + k, g.a_row, g.rows - first, depth - k, columns);
    const int64_t last = std::min<int64_t>(16, depth - k);
    for (int64_t i = 0; i < last; ++i) store(out + (k + i) * rows, columns[i]);
  }
}

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
template <bool promotes>
inline void multiply_row_block(const GemmBlock& g, int64_t first, int64_t rows, bool pack_a,
                               float* a_scratch, float* sum_scratch) {
  constexpr int64_t most_depth = block_depth<promotes>;
  alignas(64) float panel[most_depth * panel_cols];
  float a_scales[most_block_rows], b_scales[panel_cols];  // where it promotes
  const int64_t tiles = (rows + tile_rows - 1) / tile_rows;
  for (int64_t k0 = 0; k0 < g.depth; k0 += most_depth) {
    const int64_t depth = std::min(most_depth, g.depth - k0);
    const bool last = k0 + depth == g.depth;
    for (int64_t i = 0; pack_a && i < tiles; ++i) {
      const int64_t r0 = rows * i / tiles, r1 = rows * (i + 1) / tiles;
      pack_rows(g, k0, depth, first + r0, r1 - r0, a_scratch + r0 * depth);
    }
    for (int64_t r = 0; promotes && r < rows; ++r) {
      a_scales[r] = g.scales.a_scale(first + r, k0 / most_depth);
    }
    for (int64_t j = 0; j < g.cols; j += panel_cols) {
      const int cols = static_cast<int>(std::min<int64_t>(panel_cols, g.cols - j));
      // A single tile reads each element of b once: copying them would cost more.
      const bool pack_b = g.b_transposed || tiles > 1 || cols % 16 != 0;
      if (pack_b) pack_panel(g, k0, depth, j, cols, panel);
      if constexpr (promotes) find_b_scales(g, j, cols, k0 / most_depth, b_scales);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t r0 = rows * i / tiles, r1 = rows * (i + 1) / tiles;
        float* c = g.c + (first + r0) * g.c_row + j;
        // Sums that are added to c at the end must wait elsewhere until then.
        float* sums = sum_scratch != nullptr ? sum_scratch + r0 * g.cols + j : c;
        const int64_t sums_row = sum_scratch != nullptr ? g.cols : g.c_row;
        const Tile tile{
            .a = pack_a ? a_scratch + r0 * depth : g.a + (first + r0) * g.a_row + k0 * g.a_k,
            .a_row = pack_a ? 1 : g.a_row,
            .a_k = pack_a ? r1 - r0 : g.a_k,
            .b = pack_b ? panel : g.b + k0 * g.b_stride + j,
            .b_k = !pack_b      ? g.b_stride
                   : cols <= 16 ? 16
                                : panel_cols,
            .depth = depth,
            .start = k0 == 0 ? nullptr : sums,
            .start_row = sums_row,
            .out = last ? c : sums,
            .out_row = last ? g.c_row : sums_row,
            .add = last && g.add,
            .cols = cols,
            .a_scales = a_scales + r0,
            .b_scales = b_scales};
        multiply_tile<promotes>(tile, static_cast<int>(r1 - r0), pack_a || g.a_k != 1);
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

template <bool promotes>
inline void multiply_block(const GemmBlock& g) {
  if (g.rows <= 0 || g.cols <= 0) return;
  if (g.depth == 0) return multiply_nothing(g);
  if (g.b_transposed && g.rows <= few_rows_limit) {
    constexpr auto all = std::make_integer_sequence<int, few_rows_limit>();
    return few_rows_function<promotes>(g.rows, all)(g);
  }
  const bool pack_a = g.cols > 256;
  const int64_t depth = std::min(block_depth<promotes>, g.depth);
  // Each block of rows packs b again, so they are few, and of one size.
  const int64_t fitting_rows =
      std::clamp<int64_t>(block_elements() / depth, tile_rows, most_block_rows);
  const int64_t blocks = (g.rows + fitting_rows - 1) / fitting_rows;
  const int64_t most_rows = (g.rows + blocks - 1) / blocks;
  Buffer a_scratch, sum_scratch;
  if (pack_a) a_scratch = allocate_f32({most_rows * depth + 16});
  if (g.add && g.depth > block_depth<promotes>) sum_scratch = allocate_f32({most_rows * g.cols});
  for (int64_t block = 0; block < blocks; ++block) {
    const Range rows = part_range(g.rows, blocks, block);
    multiply_row_block<promotes>(g, rows.begin, rows.end - rows.begin, pack_a,
                                 pack_a ? values<float>(a_scratch.view) : nullptr,
                                 sum_scratch ? values<float>(sum_scratch.view) : nullptr);
  }
}
