// What attention's forward and backward share, once per instruction set: products of small blocks
// whose every element is one FMA chain, and keys turned so that lanes are positions.

inline int64_t whole_vectors(int64_t count) { return (count + 15) / 16 * 16; }

/// c[r][j] = sum_k a(r, k) * b[k][j], where a(r, k) = a[r * a_row + k * a_depth]. Each element is
/// one FMA chain over k ascending that begins with +0, or with c's value if `add`: so a chain may
/// be cut anywhere along k and blocks may have any size, the bits are the same.
struct AttentionProduct {
  const float* a;
  int64_t a_row;
  int64_t a_depth;
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  bool add;
};

/// How the rows of a block begin and end along k: all at once; each one step behind the row before it, so that the
/// last begins where the depth does; or likewise the first ends where the depth does.
enum class Stairs { none, rising, falling };

/// sums[r] += a(r, k) * b[k] for rows [Begin, End).
template <int Begin, int End, int Rows, int Vectors>
inline void attention_step(const AttentionProduct& x, int64_t k, const F16 (&columns)[Vectors],
                           F16 (&sums)[Rows][Vectors]) {
#pragma GCC unroll 16
  for (int r = Begin; r < End; ++r) {
    const F16 factor = set1(x.a[r * x.a_row + k * x.a_depth]);
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) sums[r][v] = fma(factor, columns[v], sums[r][v]);
  }
}

/// Rows x (16 * Vectors) elements of the product in registers, from row 0 and column j on. With
/// Tail, `tail` lanes of the last vector are there. Inlined, it would share the registers with other blocks.
template <int Rows, int Vectors, bool Tail, Stairs stairs>
[[gnu::noinline]] void attention_block(const AttentionProduct& x, int64_t j, Range depth, int tail) {
  const auto lanes = [tail](int v) { return Tail && v + 1 == Vectors ? tail : 16; };
  F16 sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      sums[r][v] = x.add ? load_lanes(x.c + r * x.c_row + j + v * 16, lanes(v)) : zero();
    }
  }
  F16 columns[Vectors];
  const auto load_columns = [&](int64_t k) {
    const float* b = x.b + k * x.b_row + j;
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) columns[v] = load_lanes(b + v * 16, lanes(v));
  };
  const auto climb = [&]<int... Step>(std::integer_sequence<int, Step...>) {
    ((load_columns(depth.begin - (Rows - 1) + Step),
      attention_step<0, Step + 1>(x, depth.begin - (Rows - 1) + Step, columns, sums)),
     ...);
  };
  const auto descend = [&]<int... Step>(std::integer_sequence<int, Step...>) {
    ((load_columns(depth.end + Step), attention_step<Step + 1, Rows>(x, depth.end + Step, columns, sums)), ...);
  };
  if constexpr (stairs == Stairs::rising) climb(std::make_integer_sequence<int, Rows - 1>());
  for (int64_t k = depth.begin; k < depth.end; ++k) {
    load_columns(k);
    attention_step<0, Rows>(x, k, columns, sums);
  }
  if constexpr (stairs == Stairs::falling) descend(std::make_integer_sequence<int, Rows - 1>());
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      store_lanes(x.c + r * x.c_row + j + v * 16, sums[r][v], lanes(v));
    }
  }
}

/// As many accumulators as the registers hold beside what is multiplied.
constexpr int attention_block_rows = f16_registers >= 32 ? 8 : 4;
constexpr int attention_block_vectors = f16_registers >= 32 ? 3 : 1;

/// All columns of Rows rows.
template <int Rows, Stairs stairs = Stairs::none>
inline void attention_rows(const AttentionProduct& x, int64_t columns, Range depth) {
  int64_t j = 0;
  if constexpr (attention_block_vectors == 3) {
    // Four vectors go as two and two: one alone waits for its own sums.
    for (; columns - j >= 48 && columns - j != 64; j += 48) attention_block<Rows, 3, false, stairs>(x, j, depth, 16);
    for (; columns - j >= 32; j += 32) attention_block<Rows, 2, false, stairs>(x, j, depth, 16);
  }
  for (; columns - j >= 16; j += 16) attention_block<Rows, 1, false, stairs>(x, j, depth, 16);
  const int tail = static_cast<int>(columns - j);
  if (tail > 0) attention_block<Rows, 1, true, stairs>(x, j, depth, tail);
}

inline AttentionProduct from_row(AttentionProduct x, int64_t row) {
  x.a += row * x.a_row;
  x.c += row * x.c_row;
  return x;
}

/// The product of `rows` rows over the same `depth`.
inline void attention_product(const AttentionProduct& x, int64_t rows, int64_t columns,
                              Range depth) {
  constexpr int most = attention_block_rows;
  int64_t r = 0;
  for (; r + most <= rows; r += most) attention_rows<most>(from_row(x, r), columns, depth);
  for (; r + 4 <= rows; r += 4) attention_rows<4>(from_row(x, r), columns, depth);
  for (; r < rows; ++r) attention_rows<1>(from_row(x, r), columns, depth);
}

/// The product of `rows` rows, of which each eight need the columns that the last of them sees:
/// those below `columns_of(row)`, a number that does not shrink from row to row.
template <class ColumnsOf>
inline void attention_stairs_product(const AttentionProduct& x, int64_t rows, Range depth,
                                     ColumnsOf columns_of) {
  for (int64_t r = 0; r < rows; r += 8) {
    const int64_t n = std::min<int64_t>(8, rows - r);
    attention_product(from_row(x, r), n, whole_vectors(columns_of(r + n - 1)), depth);
  }
}

/// The product, added to c, with a depth of its own for each row, `depth_of(r)`: neighbouring rows go together
/// where they agree, and what is outside a row's depth never meets it.
template <class DepthOf>
inline void attention_ragged_product(const AttentionProduct& x, int64_t rows, int64_t columns,
                                     DepthOf depth_of) {
  constexpr int most = attention_block_rows;
  for (int64_t r = 0; r < rows; r += most) {
    const int64_t n = std::min<int64_t>(most, rows - r);
    const Range first = depth_of(r);
    Range shared = first;
    bool rise = n == most, fall = n == most;
    for (int64_t i = 1; i < n; ++i) {
      const Range own = depth_of(r + i);
      shared = {std::max(shared.begin, own.begin), std::min(shared.end, own.end)};
      rise = rise && own.begin == first.begin + i && own.end == first.end;
      fall = fall && own.begin == first.begin && own.end == first.end + i;
    }
    if (rise && shared.begin <= shared.end) {
      attention_rows<most, Stairs::rising>(from_row(x, r), columns, shared);
      continue;
    }
    if (fall) {
      attention_rows<most, Stairs::falling>(from_row(x, r), columns, shared);
      continue;
    }
    if (shared.begin > shared.end) shared = {shared.begin, shared.begin};
    const auto alone = [&](bool before) {
      for (int64_t i = r; i < r + n; ++i) {
        const Range own = depth_of(i);
        const Range rest = before ? Range{own.begin, std::min(own.end, shared.begin)}
                                  : Range{std::max(own.begin, shared.end), own.end};
        if (rest.begin < rest.end) attention_rows<1>(from_row(x, i), columns, rest);
      }
    };
    alone(true);
    if (shared.begin < shared.end) attention_product(from_row(x, r), n, columns, shared);
    alone(false);
  }
}

/// Whether 16 rows lie at equal distances, `stride` elements.
inline bool are_even(const float* const* rows, int64_t stride) {
  for (int i = 1; i < 16; ++i) {
    if (rows[i] != rows[i - 1] + stride) return false;
  }
  return true;
}

/// Turns `count` <= 64 rows of `width` elements into lanes: out[d][p] = rows[p][d], [width, 64].
/// Lanes behind `count` are zero up to the next multiple of 16.
inline void turn_rows(const float* const* rows, int64_t count, int64_t width, float* out) {
  for (int64_t first = 0; first < count; first += 16) {
    const int64_t n = std::min<int64_t>(16, count - first);
    const int64_t stride = n == 16 ? rows[first + 1] - rows[first] : 0;
    const bool even = n == 16 && are_even(rows + first, stride);
    for_lanes(width, [&](int64_t d, int lanes) {
      F16 turned[16];
      if (even && lanes == 16) {
        load_transposed(rows[first] + d, stride, turned);
      } else {
        alignas(64) float block[16 * 16] = {};
        for (int64_t i = 0; i < n; ++i) std::copy_n(rows[first + i] + d, lanes, block + i * 16);
        load_transposed(block, 16, turned);
      }
      for (int i = 0; i < lanes; ++i) store(out + (d + i) * 64 + first, turned[i]);
    });
  }
}

/// Copies a row; rows here are too short for a call of memcpy.
inline void copy_row(const float* from, int64_t width, float* to) {
  for_lanes(width, [&](int64_t i, int n) { store_lanes(to + i, load_lanes(from + i, n), n); });
}

/// Joins the 16 lanes of each of 16 rows by the tree of sum_lanes: row r's result is lane r.
template <class Join>
inline F16 join_lanes(const float (&rows)[16 * 16], Join join) {
  F16 lanes[16];
  load_transposed(rows, 16, lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = join(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}
