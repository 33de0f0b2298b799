// The operands of a matrix product, as its tiles read them. See gemm_block.inl.

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

/// What a tile multiplies in a step, and in what blocks of k. `read` is what is taken of a number.
struct Numbers {
  static constexpr bool promotes = false, always_packs = false, has_few_rows = true;
  static constexpr int64_t block_depth = 256;  // a panel of b leaves room for rows of a in a first cache of 48 KiB
  static constexpr int64_t steps_of(int64_t depth) { return depth; }
  static F16 read(F16 x) { return x; }

  /// What is to be known of an operand: nothing.
  struct Extent {};
  static bool in_turn(const Extent&, const Extent&) { return false; }

  template <int rows, int vectors, bool a_packed>
  static void add_products(const Tile& t, F16 (&sum)[rows][vectors]) {
    add_chains<rows, vectors, a_packed>(t, sum);
  }
};

/// Numbers rounded to BF16.
struct Rounded : Numbers {
  static constexpr bool always_packs = true, has_few_rows = false;
  static F16 read(F16 x) { return nearest_bf16(x); }
};

/// Codes with scales: each block of k is a chain of its own, from +0, which is scaled and added to the total.
struct Codes : Numbers {
  static constexpr bool promotes = true;
  static constexpr int64_t block_depth = scale_depth;
};

/// Panel of b: [depth, 16 or 32] with zeros behind the `cols` columns.
template <class Kind>
inline void pack_panel(const GemmBlock& g, int64_t first_k, int64_t depth, int64_t first_col,
                       int cols, float* panel, Numbers::Extent&) {
  const int width = cols <= 16 ? 16 : panel_cols;
  for (int v = 0; v < width; v += 16) {
    const int n = std::min(16, cols - v);
    if (g.b_transposed) {
      const float* b = g.b + (first_col + v) * g.b_stride + first_k;
      for (int64_t k = 0; k < depth; k += 16) {
        F16 rows[16];
        load_transposed_part(b + k, g.b_stride, n, depth - k, rows);
        const int64_t last = std::min<int64_t>(16, depth - k);
        for (int64_t i = 0; i < last; ++i) store(panel + (k + i) * width + v, Kind::read(rows[i]));
      }
    } else {
      const float* b = g.b + first_k * g.b_stride + first_col + v;
      for (int64_t k = 0; k < depth; ++k) {
        store(panel + k * width + v, Kind::read(load_lanes(b + k * g.b_stride, n)));
      }
    }
  }
}

/// Rows [first, first + rows) of a: [depth, rows]. Writes up to 15 floats behind.
template <class Kind>
inline void pack_rows(const GemmBlock& g, int64_t first_k, int64_t depth, int64_t first,
                      int64_t rows, float* out, Numbers::Extent&) {
  const float* a = g.a + first * g.a_row + first_k * g.a_k;
  if (g.a_row == 1 && g.a_k != 1) {
    const int n = static_cast<int>(rows);
    for (int64_t k = 0; k < depth; ++k) store(out + k * rows, Kind::read(load_lanes(a + k * g.a_k, n)));
    return;
  }
  for (int64_t k = 0; k < depth; k += 16) {
    F16 columns[16];
    load_transposed_part(a + k, g.a_row, g.rows - first, depth - k, columns);
    const int64_t last = std::min<int64_t>(16, depth - k);
    for (int64_t i = 0; i < last; ++i) store(out + (k + i) * rows, Kind::read(columns[i]));
  }
}
