// What the public products and their blocks per instruction set share.
#pragma once

#include <cstdint>

namespace troupe::kernels::cpu {

/// Elements of k that share a scale.
constexpr int64_t scale_depth = 128;

/// Scales of a product of codes: of each operand one number every `scale_depth` of k.
struct GemmScales {
  const float* a = nullptr;
  int64_t a_row = 0;        ///< elements from one row of tiles to the next
  int64_t a_block = 0;      ///< elements from one block of k to the next
  int64_t a_tile_rows = 1;  ///< rows of a that share a scale
  const float* b = nullptr;
  int64_t b_col = 0;        ///< elements from one column of tiles to the next
  int64_t b_block = 0;      ///< elements from one block of k to the next
  int64_t b_tile_cols = 1;  ///< columns of b that share a scale: 1 or 128
  int64_t first_row = 0;    ///< of a part, in the product that the scales belong to
  int64_t first_col = 0;
  int64_t promote_every = 0;  ///< of the narrow accumulator: see GemmFp8Args

  float a_scale(int64_t row, int64_t block) const {
    const int64_t at = first_row + row;
    return a[(a_tile_rows == 1 ? at : at / a_tile_rows) * a_row + block * a_block];
  }
  float b_scale(int64_t col, int64_t block) const {
    const int64_t at = first_col + col;
    return b[(b_tile_cols == 1 ? at : at / b_tile_cols) * b_col + block * b_block];
  }
};

/// A product of one part: c [rows, cols] = a [rows, depth] times b [depth, cols].
struct GemmBlock {
  const float* a;
  int64_t a_row;  ///< elements from row to row of a; 1 when a is stored transposed
  int64_t a_k;    ///< elements from k to k + 1; 1 unless a is stored transposed
  const float* b;
  int64_t b_stride;  ///< elements from k to k + 1, or from column to column when b_transposed
  bool b_transposed;
  float* c;
  int64_t c_row;
  int64_t rows, cols, depth;
  bool add;             ///< c + product, else the product; not with scales
  GemmScales scales{};  ///< of a product of codes
};

/// Elements of a that a block of rows has at most: three quarters of a core's second cache, as the
/// machine says it. Nothing of it shows in the result.
int64_t block_elements();

}  // namespace troupe::kernels::cpu
