// A tile of a matrix product, as many rows and columns as the registers hold. See gemm_block.inl.

constexpr int tile_rows = f16_registers == 32 ? 12 : f16_registers == 8 ? 6 : 4;
constexpr int tile_vectors = f16_registers == 32 ? 2 : 1;
constexpr int panel_cols = 16 * tile_vectors;

/// A tile of c, at most tile_rows by panel_cols.
struct Tile {
  const float* a;
  int64_t a_row, a_k;
  const float* b;
  int64_t b_k;
  int64_t steps;
  bool in_turn;  ///< of pairs: a step's two products are two FMAs
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

/// One FMA a step for each element.
template <int rows, int vectors, bool a_packed>
inline void add_chains(const Tile& t, F16 (&sum)[rows][vectors]) {
  const float* a = t.a;
  const float* b = t.b;
  const int64_t a_row = a_packed ? 1 : t.a_row, a_k = a_packed ? t.a_k : 1;
  for (int64_t k = 0; k < t.steps; ++k) {
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
}

/// `a_packed`: the rows of a column of a are neighbours (a_row is 1), else its columns (a_k is 1).
template <class Kind, int rows, int vectors, bool a_packed>
inline void multiply_tile(const Tile& t) {
  F16 sum[rows][vectors];
  if (!Kind::promotes && t.start != nullptr) {
    load_sums<rows, vectors>(t, sum);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = zero();
    }
  }
  if (t.start == nullptr) prefetch_out<rows, vectors>(t);
  Kind::template add_products<rows, vectors, a_packed>(t, sum);
  if constexpr (Kind::promotes) {
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

template <class Kind, int vectors, bool a_packed, int... row>
inline TileFunction tile_function(int rows, std::integer_sequence<int, row...>) {
  static constexpr TileFunction functions[] = {
      multiply_tile<Kind, row + 1, vectors, a_packed>...};
  return functions[rows - 1];
}

template <class Kind, int vectors>
inline TileFunction tile_function(int rows, bool a_packed) {
  constexpr auto all = std::make_integer_sequence<int, tile_rows>();
  if (Kind::always_packs || a_packed) return tile_function<Kind, vectors, true>(rows, all);
  return tile_function<Kind, vectors, false>(rows, all);
}

template <class Kind>
inline void multiply_tile(const Tile& t, int rows, bool a_packed) {
  if (tile_vectors == 1 || t.cols <= 16) return tile_function<Kind, 1>(rows, a_packed)(t);
  return tile_function<Kind, tile_vectors>(rows, a_packed)(t);
}
